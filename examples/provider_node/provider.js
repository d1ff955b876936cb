// Nodes for Heliograph in JavaScript: `npm install && node provider.js 127.0.0.1:8196`, then start Heliograph with
// HELIOGRAPH_NODE_PROVIDERS=127.0.0.1:8196. Types and fields are those of protos/heliograph/graph/v1/node_provider.proto.
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const PROTOS = join(fileURLToPath(new URL(".", import.meta.url)), "..", "..", "protos");
const ADDRESS = process.argv[2] ?? "127.0.0.1:8196";
const MAX_MESSAGE = 64 * 1024 * 1024;
const MAX_CHUNK = 8 * 1024 * 1024;
const INLINE = 64 * 1024;

const loaded = loadSync("heliograph/graph/v1/node_provider.proto", {
  includeDirs: [PROTOS], keepCase: true, longs: Number, enums: String, defaults: true, arrays: true, objects: true,
  oneofs: true,
});
const { NodeProvider } = grpc.loadPackageDefinition(loaded).heliograph.graph.v1;

// --- The nodes -------------------------------------------------------------------------------------------------------

const NODES = {
  JsPosterize: {
    info: {
      input: { required: { image: ["IMAGE"], levels: ["INT", { default: 4, min: 2, max: 256 }] } },
      output: ["IMAGE"], output_name: ["IMAGE"], output_is_list: [false],
      display_name: "Posterize (JavaScript)", description: "Each channel in `levels` equal steps.",
      category: "image/javascript", python_module: "provider_node", output_node: false,
    },
    version: "1",
    async run({ image, levels }, call) {
      const { shape, data } = image;
      const made = new Float32Array(data.length);
      const rows = 16;
      for (let row = 0; row < rows; row += 1) {
        const end = Math.floor((data.length * (row + 1)) / rows);
        for (let i = Math.floor((data.length * row) / rows); i < end; i += 1) {
          made[i] = Math.round(data[i] * (levels - 1)) / (levels - 1);
        }
        call.progress(row + 1, rows);
        await new Promise(setImmediate); // lets a cancel come in
        if (call.cancelled) return null;
      }
      return [{ shape, data: made }];
    },
  },
  JsTitle: {
    info: {
      input: { required: { text: ["STRING", { default: "", multiline: true }] } },
      output: ["STRING"], output_name: ["STRING"], output_is_list: [false],
      display_name: "Title Case (JavaScript)", description: "Every word with a capital letter.",
      category: "text/javascript", python_module: "provider_node", output_node: true,
    },
    version: "1",
    validate: ({ text }) => (text.trim() ? true : "the text is empty"),
    validated: ["text"],
    run({ text }, call) {
      const made = text.replace(/\p{L}+/gu, (word) => word[0].toUpperCase() + word.slice(1));
      call.show({ text: [made] });
      return [made];
    },
  },
};

// --- Values <-> messages ---------------------------------------------------------------------------------------------

function unpack(value, chunks) {
  switch (value.kind) {
    case undefined: return null;
    case "list": return value.list.values.map((item) => unpack(item, chunks));
    case "map": return Object.fromEntries(Object.entries(value.map.entries).map(([k, v]) => [k, unpack(v, chunks)]));
    case "tensor": return unpackTensor(value.tensor, chunks);
    default: return value[value.kind];
  }
}

function unpackTensor({ datatype, shape, contents, raw, chunked }, chunks) {
  if (datatype !== "FP32" || contents === "shared") throw new TypeError(`cannot read a ${datatype} tensor`);
  const bytes = contents === "chunked" ? Buffer.concat(chunks[chunked] ?? []) : raw;
  const data = new Float32Array(bytes.length / 4);
  new Uint8Array(data.buffer).set(bytes);
  return { shape, data };
}

// What is large goes ahead of the message, in chunks.
function pack(value, large) {
  if (value === null || value === undefined) return {};
  if (typeof value === "boolean") return { bool_value: value };
  if (typeof value === "number") return Number.isInteger(value) ? { int_value: value } : { float_value: value };
  if (typeof value === "string") return { string_value: value };
  if (Array.isArray(value)) return { list: { values: value.map((item) => pack(item, large)) } };
  if (value.data instanceof Float32Array) {
    const bytes = Buffer.from(value.data.buffer, value.data.byteOffset, value.data.byteLength);
    const tensor = { datatype: "FP32", shape: value.shape };
    if (bytes.length <= INLINE) return { tensor: { ...tensor, raw: bytes } };
    large.push(bytes);
    return { tensor: { ...tensor, chunked: large.length - 1 } };
  }
  const entries = Object.entries(value).map(([key, item]) => [key, pack(item, large)]);
  return { map: { entries: Object.fromEntries(entries) } };
}

// --- The service -----------------------------------------------------------------------------------------------------

function watchNodeTypes(stream) {
  const node_types = Object.entries(NODES).map(([class_type, node]) => ({
    class_type,
    object_info_json: Buffer.from(JSON.stringify(node.info)),
    version: node.version,
    schedule: "SCHEDULE_ASYNC",
    ...(node.validate ? { validation: { inputs: node.validated } } : {}),
  }));
  stream.write({ node_types }); // and nothing more: the list never changes, and the stream stays open
}

function execute(stream) {
  const chunks = [];
  const state = { cancelled: false, shown: null };
  stream.on("cancelled", () => { state.cancelled = true; });
  stream.on("data", async (message) => {
    if (message.part === "chunk") {
      (chunks[message.chunk.number] ??= []).push(message.chunk.contents);
      return;
    }
    const { class_type, inputs } = message.call;
    try {
      const node = NODES[class_type];
      if (!node) throw new ReferenceError(`no node ${class_type}`);
      const values = Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, unpack(value, chunks)]));
      const outputs = await node.run(values, {
        get cancelled() { return state.cancelled; },
        progress: (value, max) => stream.write({ progress: { value, max } }),
        show: (ui) => { state.shown = ui; },
      });
      if (state.cancelled) return;
      const large = [];
      const result = {
        outputs: outputs.map((value) => pack(value, large)),
        ui_json: state.shown ? Buffer.from(JSON.stringify(state.shown)) : Buffer.alloc(0),
      };
      large.forEach((bytes, number) => {
        for (let at = 0; at < bytes.length; at += MAX_CHUNK) {
          stream.write({ chunk: { number, contents: bytes.subarray(at, at + MAX_CHUNK) } });
        }
      });
      stream.write({ result });
    } catch (error) {
      const traceback = (error.stack ?? "").split("\n").slice(1);
      stream.write({ error: { type: error.name, message: error.message, traceback } });
    }
    stream.end();
  });
}

function validate({ request }, answer) {
  const node = NODES[request.class_type];
  const inputs = Object.fromEntries(Object.entries(request.inputs).map(([name, value]) => [name, unpack(value, [])]));
  const told = node?.validate ? node.validate(inputs) : true;
  answer(null, { valid: told === true, message: told === true ? "" : String(told) });
}

const server = new grpc.Server({
  "grpc.max_receive_message_length": MAX_MESSAGE, "grpc.max_send_message_length": MAX_MESSAGE,
});
server.addService(NodeProvider.service, {
  WatchNodeTypes: watchNodeTypes,
  Execute: execute,
  Validate: validate,
  CheckLazy: (call, answer) => call.on("data", () => {}).on("end", () => answer(null, { needed: [] })),
  Fingerprint: (_call, answer) => answer(null, { fingerprint: "" }),
  Release: (_call, answer) => answer(null, {}),
});
server.bindAsync(ADDRESS, grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`provider answers on port ${port}`);
});
process.on("SIGTERM", () => server.forceShutdown());

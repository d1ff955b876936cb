// @stable-canvas/comfyui-client 1.5.9: both of its quick starts, its polling, its interruption.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BasePipe, Client, Workflow, outToB64Urls } from '@stable-canvas/comfyui-client';
import WebSocket from 'ws';

const [serverAddress, workflowFile, outputDir] = process.argv.slice(2);
const graph = JSON.parse(await readFile(workflowFile, 'utf8'));
const client = new Client({ api_host: serverAddress, WebSocket });
const save = async (name, base64url) => {
  const [kind, content] = base64url.split(',');
  await writeFile(join(outputDir, name), Buffer.from(content, 'base64'));
  return kind;
};

// using pipeline
const [stats] = await Promise.all([client.getSystemStats(), client.connect()]);
const [checkpoint] = await client.getSDModels();
const pipe = new BasePipe()
  .with(client)
  .model(checkpoint)
  .prompt('A beautiful sunset over the mountains')
  .negative('Low quality, blurry')
  .size(64, 128)
  .steps(3)
  .cfg(5)
  .save('pipe');
const pipeProgress = [];
pipe.on('progress', ({ value, max }) => pipeProgress.push([value, max]));
const piped = await pipe.wait();
await writeFile(join(outputDir, 'pipe.png'), Buffer.from(piped.images[0].data));

// using workflow
const define = (seed, steps) => {
  const workflow = new Workflow();
  const cls = workflow.classes;
  const [model, clip, vae] = cls.CheckpointLoaderSimple({ ckpt_name: checkpoint });
  const enc = (text) => cls.CLIPTextEncode({ text, clip })[0];
  const [samples] = cls.KSampler({
    seed, steps, cfg: 4, sampler_name: 'dpmpp_2m_sde_gpu', scheduler: 'karras', denoise: 1, model,
    positive: enc('best quality'), negative: enc('worst quality'),
    latent_image: cls.EmptyLatentImage({ width: 64, height: 64, batch_size: 1 })[0],
  });
  cls.SaveImage({ filename_prefix: 'from-sc-comfy-ui-client', images: cls.VAEDecode({ samples, vae })[0] });
  return workflow;
};
const invoked = await define(301, 3).invoke(client);
const urls = await outToB64Urls(invoked);
const kind = await save('workflow.png', urls[0]);

// enqueue with progress, enqueue_polling
const progress = [];
graph['5'].inputs.seed = 302;
const enqueued = await client.enqueue(graph, { progress: ({ max, value }) => progress.push([value, max]) });
graph['5'].inputs.seed = 303;
const polled = await client.enqueue_polling(graph, { polling_ms: 100 });

// interrupt one of our own
const instance = define(304, 10000).instance(client);
await instance.enqueue();
const stopped = instance.wait().then(() => 'finished', (error) => error.message);
while (!(await instance.query()).running) await new Promise((go) => setTimeout(go, 20));
await instance.interrupt();
const outcome = await stopped;
while ((await client.getQueue()).Running.length) await new Promise((go) => setTimeout(go, 20));

const report = {
  piped: piped.images.map(({ mime }) => mime),
  pipeProgress,
  invoked: invoked.images.map(({ type }) => type),
  kind,
  progress,
  enqueued: enqueued.images.map(({ data }) => data),
  polled: polled.images.map(({ data }) => data),
  stopped: outcome,
  os: stats.system.os,
  samplers: (await client.getSamplers()).includes('dpmpp_2m_sde_gpu'),
  schedulers: (await client.getSchedulers()).includes('karras'),
  left: await client.getQueue(),
};
await client.free({ unload_models: true, free_memory: true });
client.close();
console.log('report ' + JSON.stringify(report));

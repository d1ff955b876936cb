// comfy-ui-client 0.1.2, its "Example Usage", then its calls around a run.
import { readFile } from 'node:fs/promises';
import { ComfyUIClient } from 'comfy-ui-client';

const [serverAddress, workflow, outputDir, inputPicture] = process.argv.slice(2);
const prompt = JSON.parse(await readFile(workflow, 'utf8'));
prompt['2'].inputs.text = 'masterpiece best quality man';
prompt['5'].inputs.seed = 5;

const clientId = 'baadbabe-b00b-4206-9420-deadd00d1337';
const client = new ComfyUIClient(serverAddress, clientId);
await client.connect();
const images = await client.getImages(prompt);
await client.saveImages(images, outputDir);

const uploaded = await client.uploadImage(await readFile(inputPicture), 'from-node.png', true);
const history = Object.values(await client.getHistory());
const report = {
  saved: Object.values(images).flat().map(({ image }) => image.filename),
  seeds: history.map((entry) => entry.prompt[2]['5']?.inputs.seed),
  uploaded,
  queue: await client.getQueue(),
  remaining: (await client.getPrompt()).exec_info.queue_remaining,
  nodes: Object.keys(await client.getObjectInfo()).length,
  sampler: Object.keys(await client.getObjectInfo('KSampler')),
  system: (await client.getSystemStats()).system,
  embeddings: await client.getEmbeddings(),
};
let refusal = '';
prompt['5'].inputs.steps = 0;
await client.getImages(prompt).catch((error) => { refusal = error.message; });
await client.disconnect();
console.log('report ' + JSON.stringify({ ...report, refusal }));

// @saintno/comfyui-sdk 0.3.1, its "Basic Usage" (input and output nodes are our workflow's), then an interruption.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CallWrapper, ComfyApi, PromptBuilder } from '@saintno/comfyui-sdk';

const [serverAddress, workflowFile, outputDir, inputPicture] = process.argv.slice(2);
const ExampleTxt2ImgWorkflow = JSON.parse(await readFile(workflowFile, 'utf8'));
// Without wsTimeout it gives up a run whose socket is silent for 10 s, as it may be on a busy machine.
const api = new ComfyApi(`http://${serverAddress}`, undefined, { wsTimeout: 300000 }).init();
await api.waitForReady();

const builder = (seed, steps) =>
  new PromptBuilder(ExampleTxt2ImgWorkflow, ['positive', 'negative', 'checkpoint', 'seed', 'batch', 'step'], ['images'])
    .setInputNode('checkpoint', '1.inputs.ckpt_name')
    .setInputNode('seed', '5.inputs.seed')
    .setInputNode('batch', '4.inputs.batch_size')
    .setInputNode('negative', '3.inputs.text')
    .setInputNode('positive', '2.inputs.text')
    .setInputNode('step', '5.inputs.steps')
    .setOutputNode('images', '7')
    .input('checkpoint', checkpoints[0], api.osType)
    .input('seed', seed)
    .input('step', steps)
    .input('batch', 1)
    .input('positive', 'A picture of cute dog on the street')
    .input('negative', 'text, blurry');

const checkpoints = await api.getCheckpoints();
const progress = [];
let pending = 0;
const call = (seed, steps) =>
  new Promise((resolve, reject) => {
    new CallWrapper(api, builder(seed, steps))
      .onPending(() => { pending += 1; })
      .onProgress((info) => progress.push([info.node, info.value, info.max]))
      .onFinished((data, promptId) => resolve({ data, promptId }))
      .onFailed((error) => reject(error))
      .run();
  });

const { data, promptId } = await call(201, 4);
const [image] = data.images.images;
await writeFile(join(outputDir, image.filename), Buffer.from(await (await api.getImage(image)).arrayBuffer()));
const counted = [...progress];
const again = await call(201, 4); // nothing to do: taken from the history

const long = call(202, 10000);
const stopped = long.then(() => 'finished', (error) => error.message);
while (!progress.some(([, value, max]) => max === 10000 && value >= 1)) await new Promise((go) => setTimeout(go, 20));
await api.interrupt();
const outcome = await stopped;
while ((await api.getQueue()).queue_running.length) await new Promise((go) => setTimeout(go, 20));

const report = {
  saved: image.filename,
  address: api.getPathImage(image),
  cached: again.data.images.images[0].filename,
  progress: counted,
  pending,
  stopped: outcome,
  osType: api.osType,
  checkpoints,
  sampler: (await api.getSamplerInfo()).sampler[0].includes('euler'),
  history: (await api.getHistory(promptId)).status.status_str,
  uploaded: await api.uploadImage(await readFile(inputPicture), 'from-sdk.png', { override: true, subfolder: 'sdk' }),
  queue: await api.getQueue(),
};
await api.storeSetting('Test.Client', { from: 'comfyui-sdk' });
report.setting = await api.getSetting('Test.Client');
api.destroy();
console.log('report ' + JSON.stringify(report));

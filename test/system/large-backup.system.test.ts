import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { toStderr } from '../../hack/progress.ts';
import { added, livingOn } from '../harness/leftovers.ts';
import { after, aSandbox } from './a-sandbox.ts';
import { cordon, isBackedUp, origin, target } from './crash/moves.ts';
import { eventually } from './eventually.ts';
import { written } from './lying-on.ts';
import { newestBackup } from './registry-of.ts';
import { stateOf } from './user.ts';
import { startTimeoutMs, World } from './world.ts';

const MiB = 2 ** 20;
const runners = [origin, target] as const;

/**
 * How much more than it ever needed before an agent may need at any moment of the backup of 2 GiB, or of its restore. A heap that is collected late takes some
 * tens of MiB. Whoever held the content needed 2 GiB, and whoever held the layer that is sent more than twice as much as this, which the test sees to.
 */
const boundMiB = 64;

/** What is repeated in the file: longer than any compressor looks back, so that its repetitions do not vanish. */
const blockMiB = 32;

/**
 * Writes so many MiB into /data at its first start: lines of 64 bytes, each a number that looks random behind zeros, in blocks that are alike but for their first
 * line, which counts them. At every start it adds the hash and the size of what it finds to /sums.
 */
function writing(name: string, image: string, mib: number) {
  const lines = (Math.min(mib, blockMiB) * MiB) / 64;
  const script = [
    `[ -e /data ] || { awk 'BEGIN { for (r = n = 1; n < ${lines}; n++) { r = r * 16807 % 2147483647; printf "%063d\\n", r } }' > /block`,
    `n=0; while [ $n -lt ${Math.ceil(mib / blockMiB)} ]; do printf "%063d\\n" $n; cat /block; n=$((n+1)); done > /data; rm /block; }`,
    'echo "$(md5sum < /data) $(wc -c < /data)" >> /sums',
  ];
  return aSandbox(name, { image, command: after(script.join('; ')), resources: { limits: { cpu: '2', memory: '512Mi' } } });
}

describe('2 GiB of changed data', () => {
  let world: World;
  let clean: ReadonlyMap<string, readonly string[]>;
  beforeAll(async () => {
    world = await World.start({ backups: true, runners, operatorEnv: { BERTH_PATIENCE_SECONDS: '2' } });
    clean = new Map(await Promise.all(runners.map(async (name) => [name, await livingOn(world.cluster.runner(name))] as const)));
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  const agentOf = (runner: string) => world.cluster.runner(runner).agent.pid;
  const nothingIsLeftOn = (runner: string) => {
    const last: { left: readonly string[] } = { left: [] };
    const look = async () => {
      last.left = added(clean.get(runner) ?? [], await livingOn(world.cluster.runner(runner)));
      return last.left.length === 0 ? true : undefined;
    };
    return eventually(`nothing is left on ${runner}`, look, () => last.left);
  };

  /** Brings a sandbox that writes so much from one runner to the other, and deletes it: what it says of its content on the one, and on the other. */
  const moved = async (name: string, mib: number) => {
    await cordon(world, target);
    await cordon(world, origin, false);
    await world.user.create(writing(name, world.image, mib));
    const { metadata } = await world.user.untilState({ name }, 'Started');
    const sums = async (runner: string, count: number) =>
      linesOf(await written(world.cluster.runner(runner), metadata.uid, '/sums', (text) => linesOf(text).length >= count));
    const before = await sums(origin, 1);

    await world.user.patch({ name }, { desiredState: 'Stopped' });
    const stopped = await world.user.until({ name }, 'is stopped and backed up', (one) => stateOf(one) === 'Stopped' && isBackedUp(one));
    await cordon(world, origin);
    await cordon(world, target, false);
    await world.user.patch({ name }, { desiredState: 'Started' });
    const { status } = await world.user.untilState({ name }, 'Started');
    expect(status).toMatchObject({ runnerName: target, prevRunnerName: origin, assignment: { source: { kind: 'Backup' } } });
    const found = await sums(target, 2);
    await world.user.delete({ name });
    for (const runner of runners) await nothingIsLeftOn(runner);
    return { before, found, layerMiB: newestBackup(stopped).sizeBytes / MiB };
  };

  it('is backed up and restored on another runner, and no agent needs more memory for it than for a tiny backup', async () => {
    const tiny = await moved('tiny', 1);
    const files = runners.map((runner) => filesOf(agentOf(runner)));
    const usual = runners.map((runner) => peakOf(agentOf(runner)));
    for (const runner of runners) forgetPeak(agentOf(runner));
    const large = await moved('large', 2048);
    const peaks = runners.map((runner) => peakOf(agentOf(runner)));
    toStderr(`2 GiB, in MiB: ${JSON.stringify({ layer: large.layerMiB, usual, peaks })}`);

    for (const { before, found } of [tiny, large]) expect(found).toEqual([...before, ...before]);
    expect(large.before).toEqual([expect.stringMatching(new RegExp(`^[0-9a-f]{32} .* ${2048 * MiB}$`))]);
    expect(large.layerMiB).toBeGreaterThan(2 * boundMiB);
    expect(Math.max(...peaks.map((mib, index) => mib - (usual[index] ?? 0)))).toBeLessThan(boundMiB);
    await eventually('no more files are open than before', () => {
      const isAsBefore = runners.every((runner, index) => filesOf(agentOf(runner)) <= (files[index] ?? 0));
      return Promise.resolve(isAsBefore ? true : undefined);
    });
  });
});

function linesOf(text: string): readonly string[] {
  return text.split('\n').filter((line) => line !== '');
}

/** From now on the kernel counts anew the most memory that is resident of the process. */
function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** In MiB. */
function peakOf(pid: number): number {
  const kib = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kib === undefined) throw new Error(`process ${pid} tells nothing of its memory`);
  return Number(kib) / 1024;
}

/** How many files and connections a process has open. */
function filesOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

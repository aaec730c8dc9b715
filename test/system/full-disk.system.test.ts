import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { Runner } from '../harness/runner.ts';
import { aSandbox } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import { startTimeoutMs, World } from './world.ts';

/** The disk of an agent's journal is full: what frees room is done all the same, and nothing else is begun. */

let world: World;
beforeAll(async () => {
  world = await World.start({ runners: ['runner-1'] });
}, startTimeoutMs);
afterAll(() => world.stop(), startTimeoutMs);

/** Puts the agent's directory on a disk of its own, of so many MiB. */
async function moveToSmallDisk(runner: Runner, mebibytes: number): Promise<void> {
  const { agent, agentStateDir } = runner;
  await agent.stop();
  const aside = `${agentStateDir}.aside`;
  const steps = [
    `cp -a ${agentStateDir} ${aside}`,
    `mount -t tmpfs -o size=${mebibytes}m small ${agentStateDir}`,
    `cp -a ${aside}/. ${agentStateDir}/`,
    `rm -rf ${aside}`,
  ];
  await runner.exec('sh', '-c', steps.join(' && '));
  await agent.launch();
}

/** Asks for no disk: the one that is full is all that the runner says it has. */
const small = (name: string) => aSandbox(name, { image: world.image, resources: { requests: { disk: '0' } } });

const told = async (name: string) => {
  const { status } = await world.user.sandbox({ name });
  return status.state === 'Started' ? 'Started' : JSON.stringify(status).includes('OutOfDisk') ? 'OutOfDisk' : undefined;
};

it('a full disk is freed through Berth', async () => {
  const runner = world.cluster.runner('runner-1');
  await moveToSmallDisk(runner, 16);
  await world.connected();
  for (const name of ['stays', 'goes']) await world.user.create(small(name));
  for (const name of ['stays', 'goes']) await world.user.untilState({ name }, 'Started');
  const filler = `${runner.agentStateDir}/filler`;
  await runner.exec('sh', '-c', `dd if=/dev/zero of=${filler} bs=4k 2>/dev/null || true`);

  // What is left of the journal's last block takes some records.
  const refused = await untilRefused();

  // An agent that starts now has no room for a second copy of its journal.
  await runner.agent.kill();
  await runner.agent.launch();
  await world.connected();
  await world.user.patch({ name: 'stays' }, { desiredState: 'Stopped' });
  await world.user.untilState({ name: 'stays' }, 'Stopped');
  await world.user.delete({ name: 'goes' });
  expect((await world.user.sandbox({ name: 'stays' })).status.state).toBe('Stopped');

  await runner.exec('rm', filler);
  await world.user.untilState({ name: refused }, 'Started');
  await world.user.patch({ name: 'stays' }, { desiredState: 'Started' });
  await world.user.untilState({ name: 'stays' }, 'Started');
  expect(runner.agent.log()).toContain('The disk is full');
});

/** Starts sandboxes until one is refused; its name. */
async function untilRefused(): Promise<string> {
  for (let n = 0; n < 50; n++) {
    const name = `late-${n}`;
    await world.user.create(small(name));
    if (
      (await eventually(
        `an answer to ${name}`,
        () => told(name),
        () => world.user.sandbox({ name }),
      )) === 'OutOfDisk'
    )
      return name;
  }
  throw new Error('none was refused');
}

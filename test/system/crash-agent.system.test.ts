import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type AgentFailpoint, agentFailpoints } from '../../agent/failpoints.ts';
import { CrashTest, type Occasion, rowsOf } from './crash/crash-case.ts';
import { type Transition, transitions } from './crash/transitions.ts';
import { startTimeoutMs, World } from './world.ts';

const agentTransitions = {
  ...transitions,
  /** With a sandbox running. */
  'agent start': {
    ...transitions.stop,
    ask: async ({ cluster: { runners } }) => {
      for (const { agent } of runners) await agent.stop().then(() => agent.launch());
    },
    done: transitions.start.done,
  },
} as const satisfies Record<string, Transition>;

/** Those of tasks and of backups have their cases in suites of their own. */
type CopyFailpoint = Exclude<AgentFailpoint, `command.${string}` | `backup.${string}`>;

/** In which transitions the agent dies at each place. A failpoint that is not named here does not compile, and fails below. */
const cases: Readonly<Record<CopyFailpoint, readonly Occasion<keyof typeof agentTransitions>[]>> = {
  'probe.created': ['agent start'],
  'order.accepted': ['start', 'start again', 'restart', 'stop', 'delete'],
  'journal.written': ['start', 'start:2', 'start again', 'stop', 'stop:2', 'delete', 'delete:2'],
  'journal.synced': ['start', 'start:2', 'start again:2', 'restart:2', 'stop', 'stop:2', 'delete', 'delete:2'],
  'journal.rewritten': ['agent start'],
  'journal.renamed': ['agent start'],
  'image.pulling': ['pull'],
  'image.pulled': ['pull'],
  'image.proven': ['pull'],
  'snapshot.prepared': ['start'],
  'container.created': ['start', 'change'],
  'container.deleted': ['change'],
  'task.created': ['start', 'start again', 'restart'],
  'group.opened': ['start'],
  'group.closed': ['stop'],
  'task.starting': ['start', 'start again', 'restart'],
  'task.started': ['start', 'start again', 'restart'],
  'copy.told': ['start', 'stop', 'delete'],
  'copy.annotated': ['start'],
  'task.terminated': ['stop', 'restart', 'delete'],
  'task.killed': ['stop by force'],
  'task.exited': ['stop', 'restart', 'delete'],
  'task.deleted': ['stop', 'restart', 'delete'],
  'copy.stopped': ['stop', 'restart', 'delete'],
  'copy.container-removed': ['delete'],
  'copy.snapshot-removed': ['delete'],
  'copy.log-removed': ['delete'],
  'copy.removed': ['delete'],
};

describe('an agent that is killed between two effects, and started again', () => {
  let crash: CrashTest;
  let world: World;
  beforeAll(async () => {
    world = await World.start({ failpoints: true });
    crash = await CrashTest.of(world, world.cluster.runner('runner-1').agent);
  }, startTimeoutMs);
  afterAll(() => world.stop(), startTimeoutMs);

  it('has a case for every failpoint of the agent', () => {
    expect(Object.keys(cases)).toEqual(agentFailpoints.filter((name) => !/^(command|backup)\./.test(name)));
    expect(Object.entries(cases).filter(([, occasions]) => occasions.length === 0)).toEqual([]);
  });

  it.each(rowsOf(cases))('finishes a $transition in which it died at $failpoint (time $nth)', async ({ failpoint, transition, nth }) => {
    await crash.run(agentTransitions[transition], failpoint, nth);
  });
});

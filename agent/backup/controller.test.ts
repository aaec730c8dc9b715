import { describe, expect, it } from '@jest/globals';
import { BackupPhase, BackupPriority, CopyState } from '../proto/gen/berth/agent/v1/agent.ts';
import type { BackupOrder, Order } from '../proto/gen/berth/agent/v1/agent.ts';
import { AnAgent } from '../copies/an-agent.ts';
import type { AnAgentOptions } from '../copies/an-agent.ts';
import { toRemove, toStart, toStop } from '../copies/an-order.ts';
import type { FakeCall } from '../copies/fake-runtime.ts';
import { BackupError } from './backup-error.ts';

const aBackup = (id = 1, contentVersion = 1, of: Partial<BackupOrder> = {}): BackupOrder => ({
  ...{ id, contentVersion, repository: 'registry.test/default.a' },
  priority: BackupPriority.BACKUP_PRIORITY_STOPPED,
  ...of,
});

/** A call that waits until it is let go, or aborted. */
class Gate {
  readonly entered: string[] = [];
  readonly #waiting: (() => void)[] = [];

  hold(what: string, signal: AbortSignal | undefined): Promise<void> {
    this.entered.push(what);
    return new Promise((resolve, reject) => {
      this.#waiting.push(resolve);
      signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
  }

  open(): void {
    for (const go of this.#waiting.splice(0)) go();
  }
}

async function anAgentThatHolds(call: FakeCall, options: AnAgentOptions = {}): Promise<{ agent: AnAgent; gate: Gate }> {
  const gate = new Gate();
  const hooks = {
    before: (now: FakeCall, key: { readonly uid: string } | undefined, signal?: AbortSignal) =>
      now === call ? gate.hold(key?.uid ?? '', signal) : undefined,
  };
  return { agent: await AnAgent.started({ ...options, hooks }), gate };
}

async function order(agent: AnAgent, ...orders: readonly Order[]): Promise<void> {
  for (const one of orders) {
    agent.controller.deliver(one);
    await agent.rest();
  }
}

/** Started, and stopped again. */
const stopped = (agent: AnAgent, uid = 'u1') => order(agent, toStart(1, 1, { uid }), toStop(2, { uid }));

const told = (agent: AnAgent, uid = 'u1') => {
  const backup = agent.reports.findLast((report) => report.uid === uid)?.backup;
  if (backup === undefined) return 'nothing';
  const phase = Object.entries(BackupPhase).find(([, value]) => value === backup.phase)?.[0] ?? '';
  const result = backup.digest === '' ? backup.reason : `${backup.digest}${backup.takenWhileStopped ? ' while stopped' : ''}`;
  return [phase.replace('BACKUP_PHASE_', ''), backup.id, result].filter((part) => part !== '').join(' ');
};

describe('a backup that an order asks for', () => {
  it('is read, sent and removed here, and told until the order changes', async () => {
    const agent = await AnAgent.started();
    await stopped(agent);
    await order(agent, toStop(3, { backup: aBackup() }));
    expect(agent.machine.done.slice(-3)).toEqual(['read u1/1 backup 1', 'push u1/1 backup 1', 'drop u1/1 backup 1']);
    expect(told(agent)).toBe('DONE 1 sha256:backup-1 while stopped');
    await order(agent, toStop(3, { backup: aBackup() }));
    expect(agent.machine.done.filter((what) => what.startsWith('read'))).toHaveLength(1);
    expect(told(agent)).toBe('DONE 1 sha256:backup-1 while stopped');
    await order(agent, toStop(4));
    expect(told(agent)).toBe('nothing');
  });

  it('of a sandbox that runs is not taken while it was stopped', async () => {
    const agent = await AnAgent.started();
    await order(agent, toStart(1, 1), toStart(2, 1, { backup: aBackup() }));
    expect(told(agent)).toBe('DONE 1 sha256:backup-1');
    expect(agent.last()).toBe('RUNNING #2 v1');
  });

  it('is begun when the start has happened that it is to be of', async () => {
    const agent = await AnAgent.started();
    await order(agent, toStart(1, 1, { backup: aBackup() }));
    expect(told(agent)).toBe('DONE 1 sha256:backup-1');
  });

  it('holds a start back while it is read, and no longer', async () => {
    const { agent, gate } = await anAgentThatHolds('readBackup');
    await stopped(agent);
    await order(agent, toStop(3, { backup: aBackup() }), toStart(4, 2, { backup: aBackup() }));
    expect(told(agent)).toBe('DIFFING 1');
    expect(agent.machine.get('u1')?.task.state).toBe('None');
    gate.open();
    await agent.rest();
    expect(agent.last()).toBe('RUNNING #4 v2');
    expect(told(agent)).toBe('DONE 1 sha256:backup-1 while stopped');
  });

  it('does not hold a start back while it is sent', async () => {
    const { agent, gate } = await anAgentThatHolds('pushBackup');
    await stopped(agent);
    await order(agent, toStop(3, { backup: aBackup() }), toStart(4, 2, { backup: aBackup() }));
    expect([agent.last(), told(agent)]).toEqual(['RUNNING #4 v2', 'PUSHING 1']);
    gate.open();
    await agent.rest();
    expect(told(agent)).toBe('DONE 1 sha256:backup-1 while stopped');
  });

  it.each([
    { call: 'readBackup', newer: toStart(4, 2), left: 'RUNNING #4 v2', drops: 0 },
    { call: 'readBackup', newer: toRemove(4), left: 'ABSENT #4 v0', drops: 0 },
    { call: 'pushBackup', newer: toStart(4, 2), left: 'RUNNING #4 v2', drops: 1 },
    { call: 'pushBackup', newer: toRemove(4), left: 'ABSENT #4 v0', drops: 1 },
  ] as const)('is given up in $call when a newer order does not name it: $left', async ({ call, newer, left, drops }) => {
    const { agent } = await anAgentThatHolds(call);
    await stopped(agent);
    await order(agent, toStop(3, { backup: aBackup() }), newer);
    expect([agent.last(), told(agent)]).toEqual([left, 'nothing']);
    expect(agent.machine.done.filter((what) => what === 'drop u1/1 backup 1')).toHaveLength(drops);
    expect(agent.failures).toEqual([]);
  });

  it('begins anew under another id', async () => {
    const { agent, gate } = await anAgentThatHolds('readBackup');
    await stopped(agent);
    await order(agent, toStop(3, { backup: aBackup(1) }), toStop(4, { backup: aBackup(2) }));
    gate.open();
    await agent.rest();
    expect(told(agent)).toBe('DONE 2 sha256:backup-2 while stopped');
    expect(agent.machine.done.filter((what) => what.startsWith('push'))).toEqual(['push u1/1 backup 2']);
  });

  it('is kept while the registry is away, and sent with the newest credentials', async () => {
    let isAway = true;
    const before = (call: FakeCall) => {
      if (call === 'pushBackup' && isAway) throw new BackupError('RegistryUnavailable', 'away');
    };
    const agent = await AnAgent.started({ hooks: { before } });
    await stopped(agent);
    await order(agent, toStop(3, { backup: aBackup() }));
    await agent.rest(60_000);
    expect(told(agent)).toBe('WAITING 1 RegistryUnavailable');
    isAway = false;
    const credentials = [{ host: 'registry.test', username: 'renewed', password: 'p' }];
    await order(agent, toStop(3, { backup: aBackup(), credentials }));
    await agent.rest(60_000);
    expect(told(agent)).toBe('DONE 1 sha256:backup-1 while stopped');
    expect(agent.machine.done.slice(-3)).toEqual(['read u1/1 backup 1', 'push u1/1 backup 1 as renewed', 'drop u1/1 backup 1']);
  });

  it.each<{ call: FakeCall; code: 'OutOfDisk' | 'ImageUnauthorized'; done: string }>([
    { call: 'readBackup', code: 'OutOfDisk', done: 'stop u1/1 10' },
    { call: 'pushBackup', code: 'ImageUnauthorized', done: 'drop u1/1 backup 1' },
  ])('fails for good when $call says $code, and nothing is left', async ({ call, code, done }) => {
    const before = (now: FakeCall) => {
      if (now === call) throw new BackupError(code, 'no');
    };
    const agent = await AnAgent.started({ hooks: { before } });
    await stopped(agent);
    await order(agent, toStop(3, { backup: aBackup() }));
    expect(told(agent)).toBe(`FAILED 1 ${code}`);
    expect(agent.machine.done.at(-1)).toBe(done);
    await agent.rest(600_000);
    expect(told(agent)).toBe(`FAILED 1 ${code}`);
  });

  it('is read again when nobody knows what came of it', async () => {
    let failures = 0;
    const before = (call: FakeCall) => {
      if (call === 'readBackup' && failures++ < 2) throw new Error('the answer was lost');
    };
    const agent = await AnAgent.started({ hooks: { before } });
    await stopped(agent);
    await order(agent, toStop(3, { backup: aBackup() }));
    expect(told(agent)).toBe('WAITING 1 RuntimeFailed');
    await agent.rest(10_000);
    expect(told(agent)).toBe('DONE 1 sha256:backup-1 while stopped');
  });

  it('fails when the copy holds another version', async () => {
    const agent = await AnAgent.started();
    await stopped(agent);
    await order(agent, toStop(3, { backup: aBackup(1, 2) }));
    expect(told(agent)).toBe('FAILED 1 BackupVersionMismatch');
  });

  it('is one of two at once, and the more urgent goes first', async () => {
    const { agent, gate } = await anAgentThatHolds('pushBackup');
    const uids = ['u1', 'u2', 'u3', 'u4', 'u5'];
    for (const uid of uids) await stopped(agent, uid);
    const urgency = {
      u1: BackupPriority.BACKUP_PRIORITY_STARTED,
      u2: BackupPriority.BACKUP_PRIORITY_STARTED,
      u3: BackupPriority.BACKUP_PRIORITY_STARTED,
      u4: BackupPriority.BACKUP_PRIORITY_STOPPED,
      u5: BackupPriority.BACKUP_PRIORITY_ARCHIVING,
    };
    for (const [uid, priority] of Object.entries(urgency)) await order(agent, toStop(3, { uid, backup: aBackup(1, 1, { priority }) }));
    expect(gate.entered).toEqual(['u1', 'u2']);
    expect(told(agent, 'u3')).toBe('WAITING 1');
    for (const want of [['u5', 'u4'], ['u3']]) {
      gate.open();
      await agent.rest();
      expect(gate.entered.slice(-want.length)).toEqual(want);
    }
  });

  it('goes first when a newer order says that it is more urgent', async () => {
    const { agent, gate } = await anAgentThatHolds('pushBackup');
    for (const uid of ['u1', 'u2', 'u3', 'u4']) await stopped(agent, uid);
    for (const uid of ['u1', 'u2', 'u3', 'u4']) await order(agent, toStop(3, { uid, backup: aBackup() }));
    await order(agent, toStop(4, { uid: 'u4', backup: aBackup(1, 1, { priority: BackupPriority.BACKUP_PRIORITY_ARCHIVING }) }));
    gate.open();
    await agent.rest();
    expect(gate.entered).toEqual(['u1', 'u2', 'u4', 'u3']);
  });

  it('leaves nothing paused when an agent begins: the process goes on', async () => {
    const first = await AnAgent.started();
    await order(first, toStart(1, 1));
    first.controller.stop();
    first.machine.change({ uid: 'u1', epoch: 1 }, { task: { state: 'Paused' } });
    const second = await AnAgent.started({ machine: first.machine, disk: first.disk });
    expect(second.machine.done.at(-1)).toBe('resume u1/1');
    expect(second.reports.at(-1)?.state).toBe(CopyState.COPY_STATE_RUNNING);
  });
});

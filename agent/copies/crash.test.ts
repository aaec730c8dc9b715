import { describe, expect, it } from '@jest/globals';
import { JournalDisk } from '../journal/memory-journal.ts';
import { CopyState } from '../proto/gen/berth/agent/v1/agent.ts';
import type { CopyReport, Order } from '../proto/gen/berth/agent/v1/agent.ts';
import { AnAgent } from './an-agent.ts';
import { aBackup, aConfig, anOrder, aPreparation, toPrepare, toRemove, toStop, whatIsThere } from './an-order.ts';
import { certainly, FakeMachine } from './fake-runtime.ts';
import type { FakeCall } from './fake-runtime.ts';

/** One life of an agent: it ends at the n-th boundary of a call, before its effect or before its answer. */
class Life {
  #left: number;
  isOver = false;

  constructor(boundaries: number) {
    this.#left = boundaries;
  }

  readonly boundary = (): Promise<void> => {
    if (this.#left-- <= 0) this.isOver = true;
    return this.isOver ? new Promise(() => undefined) : Promise.resolve();
  };
}

type Wish = (order: number, version: number, hasContent: boolean) => Order;

/** What users and operators do, one after the other. The start goes on until it is seen running, as an operator does. */
type Act =
  | { readonly kind: 'order'; readonly wish: Wish; readonly until: CopyState; readonly epoch: number }
  | { readonly kind: 'prepare' }
  | { readonly kind: 'exit' };

const run = (of: Partial<Order> = {}): Act => ({
  kind: 'order',
  wish: (order, contentVersion, hasContent) => anOrder({ order, contentVersion, ...(hasContent ? { source: whatIsThere } : {}), ...of }),
  until: CopyState.COPY_STATE_RUNNING,
  epoch: of.epoch ?? 1,
});
const end = (wish: (order: number, of: Partial<Order>) => Order, until: CopyState, epoch = 1): Act => ({
  kind: 'order',
  wish: (order) => wish(order, { epoch }),
  until,
  epoch,
});
const stop = (epoch = 1) => end(toStop, CopyState.COPY_STATE_STOPPED, epoch);
const remove = (epoch = 1) => end(toRemove, CopyState.COPY_STATE_ABSENT, epoch);

/** An operator's memory, a machine and a disk: what outlives an agent. */
class Story {
  readonly machine = new FakeMachine();
  readonly disk = new JournalDisk();
  readonly starts: string[] = [];
  readonly takenBack: string[] = [];
  readonly #fails: ((call: FakeCall) => void) | undefined;
  #life: Life;
  #agent: AnAgent | undefined;
  #order = 0;
  #version = 0;
  #boots = 1;

  constructor(crashAt: number, fails?: (call: FakeCall) => void) {
    this.#life = new Life(crashAt);
    this.#fails = fails;
  }

  /** The first agent did not live to the end. */
  hasCrashed = false;

  #isOver(): boolean {
    this.hasCrashed ||= this.#life.isOver;
    return this.#life.isOver;
  }

  async play(acts: readonly Act[], rebootAtCrash: boolean): Promise<void> {
    for (const act of acts) {
      await this.#act(act);
      if (!this.#isOver()) continue;
      if (rebootAtCrash) this.machine.reboot(`boot-${++this.#boots}`);
      await this.#begin(new Life(Infinity));
      await this.#act(act);
    }
  }

  async #act(act: Act): Promise<void> {
    const agent = this.#agent ?? (await this.#begin(this.#life));
    if (act.kind === 'prepare') agent.controller.prepareAhead(aPreparation({ bootId: this.machine.bootID }));
    else if (act.kind === 'exit') this.machine.exit({ uid: 'u1', epoch: 1 }, { code: 1 });
    else await this.#carryOut(agent, act);
    await agent.rest(2000);
    this.#checkVersions();
  }

  /** A version under which something ran is never taken back. */
  #checkVersions(): void {
    for (const copy of this.disk.state.sandboxes.get('u1')?.copies ?? []) {
      const ran = this.starts.filter((start) => start.startsWith(`epoch ${copy.epoch} `)).map((start) => Number(start.split(' ').at(-1)));
      if (copy.absentSinceMs === undefined && copy.started < Math.max(0, ...ran))
        this.takenBack.push(`epoch ${copy.epoch} to ${copy.started}`);
    }
  }

  /** Raises number and version as often as it takes until the report says what is wanted. */
  async #carryOut(agent: AnAgent, { wish, until, epoch }: Act & { readonly kind: 'order' }): Promise<void> {
    for (let tries = 0; tries < 5 && !this.#isOver(); tries++) {
      const known = this.#report(agent, epoch);
      const started = Math.max(0, ...agent.reports.map(({ contentVersion }) => contentVersion), known?.contentVersion ?? 0);
      this.#version = Math.max(this.#version, started) + 1;
      const order = { ...wish(++this.#order, this.#version, (known?.contentVersion ?? 0) > 0), bootId: this.machine.bootID };
      for (let sent = 0; sent < 3; sent++) {
        agent.controller.deliver(order);
        await agent.rest(1000);
        if (this.#isOver() || this.#isDone(agent, order, until)) return;
      }
    }
  }

  #isDone(agent: AnAgent, order: Order, until: CopyState): boolean {
    const report = this.#report(agent, order.epoch);
    return report?.order === order.order && report.state === until;
  }

  #report(agent: AnAgent, epoch: number): CopyReport | undefined {
    return (
      agent.reports.findLast((report) => report.epoch === epoch) ?? agent.controller.inventory().copies.find((copy) => copy.epoch === epoch)
    );
  }

  last(epoch: number): CopyState | undefined {
    const isBuried = this.disk.state.sandboxes.get('u1')?.copies.some((copy) => copy.epoch === epoch && copy.absentSinceMs !== undefined);
    if (isBuried === true && this.machine.get('u1', epoch) === undefined) return CopyState.COPY_STATE_ABSENT;
    return this.#agent === undefined ? undefined : this.#report(this.#agent, epoch)?.state;
  }

  async #begin(life: Life): Promise<AnAgent> {
    this.#life = life;
    const agent = new AnAgent({
      machine: this.machine,
      disk: this.disk,
      write: async (persist) => {
        await life.boundary();
        persist();
        await life.boundary();
      },
      hooks: {
        before: async (call) => {
          await life.boundary();
          this.#fails?.(call);
        },
        after: () => life.boundary(),
        started: ({ uid, epoch }) => {
          const copy = this.disk.state.sandboxes.get(uid)?.copies.find((one) => one.epoch === epoch);
          this.starts.push(`epoch ${epoch} version ${copy?.started ?? 0}`);
        },
      },
    });
    this.#agent = agent;
    void agent.controller.start();
    await agent.rest();
    return agent;
  }
}

/** Fails the n-th start for certain. */
function failingStart(at: number) {
  let starts = 0;
  return (call: FakeCall) => {
    if (call === 'start' && ++starts === at) throw certainly('CommandNotFound');
  };
}

const stories: readonly { readonly name: string; readonly acts: readonly Act[]; readonly ends: CopyState; readonly failAt?: number }[] = [
  {
    name: 'prepared ahead, run, exited, run, stopped, run with another configuration',
    acts: [{ kind: 'prepare' }, run(), { kind: 'exit' }, run(), stop(), run({ config: aConfig({ hash: 'c2' }) })],
    ends: CopyState.COPY_STATE_RUNNING,
  },
  { name: 'run, run again without a stop, stopped', acts: [run(), run(), stop()], ends: CopyState.COPY_STATE_STOPPED },
  { name: 'run, stopped, removed', acts: [run(), stop(), remove()], ends: CopyState.COPY_STATE_ABSENT },
  { name: 'removed while it runs', acts: [run(), remove()], ends: CopyState.COPY_STATE_ABSENT },
  {
    name: 'prepared by an order, run',
    acts: [{ kind: 'order', wish: (order) => toPrepare(order), until: CopyState.COPY_STATE_PREPARED, epoch: 1 }, run()],
    ends: CopyState.COPY_STATE_RUNNING,
  },
  {
    name: 'a second epoch from a backup takes over, and the first is removed',
    acts: [run(), stop(), run({ epoch: 2, source: aBackup('sha256:1') }), remove(1), stop(2)],
    ends: CopyState.COPY_STATE_ABSENT,
  },
  { name: 'a start that fails once', acts: [run(), stop()], ends: CopyState.COPY_STATE_STOPPED, failAt: 1 },
];

describe.each([{ reboots: false }, { reboots: true }])('an agent that crashes (and the machine is rebooted: $reboots)', ({ reboots }) => {
  it.each(stories)('at any boundary of: $name', async ({ acts, ends, failAt }) => {
    for (let crashAt = 0; ; crashAt++) {
      const story = new Story(crashAt, failAt === undefined ? undefined : failingStart(failAt));
      await story.play(acts, reboots);
      const where = `crash at boundary ${crashAt}`;
      expect([where, story.starts]).toEqual([where, [...new Set(story.starts)]]);
      expect([where, story.starts.filter((start) => start.endsWith('version 0'))]).toEqual([where, []]);
      expect([where, story.takenBack]).toEqual([where, []]);
      expect([where, story.last(1)]).toEqual([where, ends]);
      if (story.hasCrashed) continue;
      expect(crashAt).toBeGreaterThan(10);
      return;
    }
  });
});

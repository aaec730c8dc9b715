import { FakeClock } from '../../process/fake-clock.ts';
import { silentLogger } from '../../process/log.ts';
import { JournalDisk, MemoryJournal } from '../journal/memory-journal.ts';
import { CopyState } from '../proto/gen/berth/agent/v1/agent.ts';
import type { CopyReport, RunnerReport } from '../proto/gen/berth/agent/v1/agent.ts';
import { CopyController } from './controller.ts';
import { FakeMachine, FakeRuntime } from './fake-runtime.ts';
import type { FakeRuntimeHooks } from './fake-runtime.ts';
import type { ResourceAmounts } from '../../crds/index.ts';

export interface AnAgentOptions {
  readonly machine?: FakeMachine;
  readonly disk?: JournalDisk;
  readonly hooks?: FakeRuntimeHooks;
  readonly capacity?: ResourceAmounts;
  readonly write?: (persist: () => void) => Promise<void>;
  readonly clock?: FakeClock;
}

/** The real copies of an agent over fakes, and what they told: for tests. */
export class AnAgent {
  readonly machine: FakeMachine;
  readonly disk: JournalDisk;
  readonly clock: FakeClock;
  readonly controller: CopyController;
  readonly reports: CopyReport[] = [];
  readonly runners: RunnerReport[] = [];
  readonly failures: unknown[] = [];
  relists = 0;

  constructor({ machine, disk, hooks, capacity, write, clock }: AnAgentOptions = {}) {
    this.machine = machine ?? new FakeMachine();
    this.disk = disk ?? new JournalDisk();
    this.clock = clock ?? new FakeClock();
    this.controller = new CopyController({
      runtime: new FakeRuntime(this.machine, hooks),
      journal: new MemoryJournal(this.disk, write),
      clock: this.clock,
      random: () => 0,
      log: silentLogger,
      storeID: 'store-1',
      bootID: this.machine.bootID,
      capacity: capacity ?? { cpuMillis: 1000, memoryBytes: 1000, diskBytes: 1000 },
      reserved: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0 },
      onFailed: (error) => this.failures.push(error),
    });
    this.controller.attach({
      copyChanged: (report) => this.reports.push(report),
      runnerChanged: (report) => this.runners.push(report),
      relisted: () => {
        this.relists++;
      },
    });
  }

  static async started(options: AnAgentOptions = {}): Promise<AnAgent> {
    const agent = new AnAgent(options);
    await agent.controller.start();
    await agent.rest();
    return agent;
  }

  /** Lets everything happen that happens without waiting, and what is told after a moment. */
  async rest(ms = 250): Promise<void> {
    await this.clock.run(ms);
  }

  /** The last report of a copy, in short. */
  last(epoch = 1, uid = 'u1'): string {
    const report = this.reports.findLast((one) => one.uid === uid && one.epoch === epoch);
    return report === undefined ? 'nothing' : inShort(report);
  }

  /** Every report of a copy, in short. */
  told(epoch = 1, uid = 'u1'): string[] {
    return this.reports.filter((one) => one.uid === uid && one.epoch === epoch).map(inShort);
  }
}

/** `RUNNING #3 v1`, `STOPPED #4 v1 Completed`, `REJECTED #2 v0 ImageNotFound`. */
export function inShort({ state, order, contentVersion, reason, exit }: CopyReport): string {
  const name = Object.entries(CopyState).find(([, value]) => value === state)?.[0] ?? String(state);
  const why = [exit === undefined ? '' : `${exit.reason}${exit.ordered ? ' ordered' : ''}`, reason].filter((text) => text !== '');
  return [name.replace('COPY_STATE_', ''), `#${order}`, `v${contentVersion}`, ...why].join(' ');
}

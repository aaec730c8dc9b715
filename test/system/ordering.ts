import { aConfig, anImage, anOrder, toRemove, toStop, whatIsThere } from '../../agent/copies/an-order.ts';
import { BackupPhase, BackupPriority, CopyState } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { BackupOrder, BackupReport, CopyConfig, CopyReport, Hello, Order } from '../../agent/proto/gen/berth/agent/v1/agent.ts';
import type { Runner } from '../harness/runner.ts';
import { sha256Hex } from '../../process/digest.ts';
import { after } from './a-sandbox.ts';
import { eventually } from './eventually.ts';
import type { LateHub } from './late-hub.ts';

const amounts = { cpuMillis: 50, memoryBytes: 64 * 2 ** 20, diskBytes: 2 ** 20 };

/** One runner's agent, ordered about by a test through its own hub. */
export class Ordering {
  readonly hub: LateHub;
  readonly runner: Runner;
  readonly #image: string;
  hello: Hello;

  private constructor(hub: LateHub, runner: Runner, image: string, hello: Hello) {
    this.hub = hub;
    this.runner = runner;
    this.#image = image;
    this.hello = hello;
  }

  static async of(hub: LateHub, runner: Runner, image: string): Promise<Ordering> {
    return new Ordering(hub, runner, image, await hub.connected(runner.name));
  }

  /** Waits for an agent that was started after the one known so far. */
  async another(): Promise<void> {
    this.hello = await eventually('a new agent connects', async () => {
      const now = await this.hub.connected(this.runner.name);
      return now.agentId === this.hello.agentId ? undefined : now;
    });
  }

  config(script: string, of: Partial<CopyConfig> = {}): CopyConfig {
    return aConfig({
      hash: sha256Hex(script).slice(0, 12),
      image: this.#image,
      command: after(script),
      requests: amounts,
      limits: { ...amounts, cpuMillis: 500, diskBytes: 0 },
      pidsLimit: 64,
      ...of,
    });
  }

  send(order: Order): void {
    this.hub.send(this.runner.name, order);
  }

  start(uid: string, order: number, contentVersion: number, of: Partial<Order> = {}): void {
    const source = contentVersion > 1 ? whatIsThere : anImage;
    this.send(anOrder({ ...this.#here(uid), order, contentVersion, config: this.config('true'), source, ...of }));
  }

  stop(uid: string, order: number, of: Partial<Order> = {}): void {
    this.send(toStop(order, { ...this.#here(uid), graceSeconds: 1, ...of }));
  }

  remove(uid: string, order: number, of: Partial<Order> = {}): void {
    this.send(toRemove(order, { ...this.#here(uid), graceSeconds: 1, ...of }));
  }

  last(uid: string): CopyReport | undefined {
    return this.hub.reports.findLast((report) => report.uid === uid);
  }

  async told(uid: string, state: CopyState, order: number): Promise<CopyReport> {
    return this.#until(uid, `in state ${state} under order ${order}`, (report) =>
      report.state === state && report.order === order ? report : undefined,
    );
  }

  async backedUp(uid: string, id: number, phase: BackupPhase, reason = ''): Promise<BackupReport> {
    return this.#until(uid, `with backup ${id} in phase ${phase} ${reason}`, ({ backup }) =>
      backup?.id === id && backup.phase === phase && backup.reason === reason ? backup : undefined,
    );
  }

  async done(uid: string, id: number): Promise<BackupReport> {
    return this.backedUp(uid, id, BackupPhase.BACKUP_PHASE_DONE);
  }

  async #until<T>(uid: string, what: string, of: (report: CopyReport) => T | undefined): Promise<T> {
    return eventually(
      `${uid} is told ${what}`,
      () => {
        const report = this.last(uid);
        return Promise.resolve(report === undefined ? undefined : of(report));
      },
      () => this.last(uid),
    );
  }

  #here(uid: string) {
    return { uid, name: 'by-hand', storeId: this.hello.storeId, bootId: this.hello.bootId };
  }
}

export function toBackUp(id: number, contentVersion: number, repository: string): BackupOrder {
  return { id, repository, contentVersion, priority: BackupPriority.BACKUP_PRIORITY_STOPPED };
}

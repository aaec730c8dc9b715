import type { Sandbox } from '../../../crds/index.ts';
import type { Trace } from '../engine/trace.ts';
import { idOfKey } from '../models/machine.ts';
import type { Machine, MachineObserver, Run, StoredCopy } from '../models/machine.ts';
import { isStartPermitted } from './orders.ts';
import type { Violations } from './violation.ts';

interface History {
  /** The run whose writes are the newest content. */
  newest: Run | undefined;
  readonly versions: Set<number>;
  readonly running: Map<number, { readonly machine: Machine; readonly copy: StoredCopy }>;
  /** `epoch/contentVersion@runner` of every start that an acknowledged status permitted. */
  readonly permitted: Set<string>;
  /** What the API server last had; undefined once the object is gone. */
  object: Sandbox | undefined;
}

/** Judges what happens on the machines against what the API server has acknowledged, in the moment in which it happens. */
export class FleetChecks implements MachineObserver {
  readonly #violations: Violations;
  readonly #trace: Trace;
  readonly #histories = new Map<string, History>();
  /** Which contentVersion a start is for: what the machine's journal says durably in that moment. */
  readonly #versionOf: (machine: Machine, copy: StoredCopy) => number;
  #runs = 0;

  constructor(violations: Violations, trace: Trace, versionOf: (machine: Machine, copy: StoredCopy) => number) {
    this.#violations = violations;
    this.#trace = trace;
    this.#versionOf = versionOf;
  }

  /** How many processes were started. */
  get starts(): number {
    return this.#runs;
  }

  taskCreated(machine: Machine, copy: StoredCopy): void {
    this.#trace.add(machine.name, `task created ${idOfKey(copy.key)}`);
    this.#checkCapacity(machine);
  }

  taskStarting(machine: Machine, copy: StoredCopy): Run {
    const { uid, epoch } = copy.key;
    const history = this.#historyOf(uid);
    const run: Run = { number: ++this.#runs, contentVersion: this.#versionOf(machine, copy) };
    const id = `${idOfKey(copy.key)} version ${run.contentVersion} on ${machine.name}`;
    this.#trace.add(machine.name, `task STARTS ${id}`);
    for (const other of history.running.values()) {
      this.#violations.add('OneRunningCopy', `${id} starts while ${idOfKey(other.copy.key)} runs on ${other.machine.name}`, uid);
    }
    if (history.versions.has(run.contentVersion)) this.#violations.add('StartedOnce', `${id} starts again`, uid);
    const content = copy.content?.at(-1);
    if (content !== history.newest) {
      const has = content === undefined ? 'nothing' : `run ${content.number} (version ${content.contentVersion})`;
      this.#violations.add('NewestContent', `${id} starts on what ${has} wrote; the newest is run ${history.newest?.number ?? 0}`, uid);
    }
    if (history.object === undefined) this.#violations.add('StartPermitted', `${id} starts and its object is gone`, uid);
    else if (!history.permitted.has(`${epoch}/${run.contentVersion}@${machine.name}`)) {
      this.#violations.add('StartPermitted', `${id} starts and no acknowledged status permits it`, uid);
    }
    history.versions.add(run.contentVersion);
    history.newest = run;
    history.running.set(run.number, { machine, copy });
    return run;
  }

  taskEnded(machine: Machine, copy: StoredCopy, why: string): void {
    this.#trace.add(machine.name, `task ENDS ${idOfKey(copy.key)} (${why})`);
    const { running } = this.#historyOf(copy.key.uid);
    for (const [number, one] of running) if (one.copy === copy) running.delete(number);
  }

  removing(machine: Machine, copy: StoredCopy): void {
    const { uid, epoch } = copy.key;
    const { object, newest } = this.#historyOf(uid);
    this.#trace.add(machine.name, `removing ${idOfKey(copy.key)}`);
    if (newest === undefined || (copy.content ?? []).length === 0) return;
    const isReleased = object?.status.releases.some((release) => release.runnerName === machine.name && release.epoch === epoch);
    if (object === undefined || object.metadata.deletionTimestamp !== undefined || isReleased === true) return;
    this.#violations.add('RemovalRecorded', `${idOfKey(copy.key)} with content is removed from ${machine.name} without a record`, uid);
  }

  /** The API server acknowledged this object. */
  acknowledged(object: Sandbox, old: Sandbox | undefined): void {
    const { uid } = object.metadata;
    const history = this.#historyOf(uid);
    history.object = object;
    const { status } = object;
    const assignment = status.assignment;
    if (assignment !== undefined && status.runnerName !== undefined && isStartPermitted(object)) {
      history.permitted.add(`${assignment.epoch}/${status.contentVersion}@${status.runnerName}`);
    }
    if (old !== undefined) this.#checkStep(object, old, history);
    if (status.state === 'Started' && !history.versions.has(status.contentVersion)) {
      this.#violations.add('HonestStarted', `Started with version ${status.contentVersion}, under which nothing was started`, uid);
    }
    if (status.state === 'Stopped' && old?.status.state !== 'Stopped') {
      for (const { machine } of history.running.values())
        this.#violations.add('HonestStopped', `Stopped while it runs on ${machine.name}`, uid);
    }
  }

  /** The object is gone. `noted` says whether a Runner's removals name a copy. */
  gone(object: Sandbox, machines: readonly Machine[], noted: (machine: Machine, copy: StoredCopy) => boolean): void {
    const { uid } = object.metadata;
    this.#historyOf(uid).object = undefined;
    for (const machine of machines) {
      for (const copy of machine.copies.values()) {
        if (copy.key.uid !== uid || (copy.content ?? []).length === 0 || noted(machine, copy)) continue;
        this.#violations.add('GoneMeansGone', `the object is gone and ${idOfKey(copy.key)} still lies on ${machine.name}`, uid);
      }
    }
  }

  /** The processes of a sandbox that run now. */
  running(uid: string): readonly { readonly machine: Machine; readonly copy: StoredCopy }[] {
    return [...(this.#histories.get(uid)?.running.values() ?? [])];
  }

  #checkStep(object: Sandbox, old: Sandbox, history: History): void {
    const { uid } = object.metadata;
    const [before, after] = [old.status, object.status];
    if (after.order < before.order) this.#violations.add('OrderRises', `order went from ${before.order} to ${after.order}`, uid);
    for (let version = after.contentVersion + 1; version <= before.contentVersion; version++) {
      if (history.versions.has(version)) this.#violations.add('VersionTakenBackOnProof', `version ${version} was taken back and ran`, uid);
    }
  }

  #checkCapacity(machine: Machine): void {
    const held = [...machine.copies.values()].filter(({ task }) => task.state === 'Created' || task.state === 'Running');
    const sum = (amount: 'cpuMillis' | 'memoryBytes') => held.reduce((total, { requests }) => total + requests[amount], 0);
    for (const amount of ['cpuMillis', 'memoryBytes'] as const) {
      if (sum(amount) > machine.capacity[amount]) {
        this.#violations.add(
          'CapacityKept',
          `${machine.name}: ${amount} ${sum(amount)} of ${machine.capacity[amount]} by ${held.map(({ key }) => idOfKey(key)).join(', ')}`,
        );
      }
    }
  }

  #historyOf(uid: string): History {
    const known = this.#histories.get(uid);
    if (known !== undefined) return known;
    const history: History = { newest: undefined, versions: new Set(), running: new Map(), permitted: new Set(), object: undefined };
    this.#histories.set(uid, history);
    return history;
  }
}

import type { Sandbox } from '../../../crds/index.ts';
import type { Trace } from '../engine/trace.ts';
import { idOfKey } from '../models/machine.ts';
import type { Machine, MachineObserver, StoredCopy } from '../models/machine.ts';
import { describeContent, fromImage, isSameContent, written } from '../models/content.ts';
import type { Content, Run } from '../models/content.ts';
import { deadlineFault } from './deadlines.ts';
import { isStartPermitted } from './orders.ts';
import type { Violations } from './violation.ts';

interface History {
  /** What the run that was started last has written. */
  newest: Content;
  readonly versions: Map<number, Run>;
  /** The runner of the last start. */
  lastOn?: string;
  /** Epochs that begin with an older backup because the user asked for it, and its digest. */
  readonly restores: Map<number, string>;
  readonly running: Map<number, { readonly machine: Machine; readonly copy: StoredCopy }>;
  /** `epoch/contentVersion@runner` of every start that an acknowledged status permitted. */
  readonly permitted: Set<string>;
  /** What the API server last had; undefined once the object is gone. */
  object: Sandbox | undefined;
}

/** Who has which bytes. */
export interface Holders {
  /** What the copy on that runner holds; undefined when nothing ran in it: an attempt, which nobody misses. */
  at(runner: string, uid: string, epoch: number): Content | undefined;
  /** Whether another copy holds the same, or a backup: for a copy only one of which every byte was read, for a backup another that is whole. */
  hasOther(uid: string, content: Content, than: { readonly runner: string; readonly epoch: number } | { readonly digest: string }): boolean;
  /** What a backup was made of. */
  ofBackup(digest: string): Content | undefined;
}

/** Judges what happens on the machines against what the API server has acknowledged, in the moment in which it happens. */
export class FleetChecks implements MachineObserver {
  readonly #violations: Violations;
  readonly #trace: Trace;
  readonly #histories = new Map<string, History>();
  /** Which contentVersion a start is for: what the machine's journal says durably in that moment. */
  readonly #versionOf: (machine: Machine, copy: StoredCopy) => number;
  readonly #holders: Holders;
  #runs = 0;
  #moves = 0;

  constructor(violations: Violations, trace: Trace, versionOf: (machine: Machine, copy: StoredCopy) => number, holders: Holders) {
    this.#violations = violations;
    this.#trace = trace;
    this.#versionOf = versionOf;
    this.#holders = holders;
  }

  /** How many processes were started. */
  get starts(): number {
    return this.#runs;
  }

  /** How many sandboxes ran first on another runner than before. */
  get moves(): number {
    return this.#moves;
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
    this.#checkContent(id, history, copy);
    if (history.object === undefined) this.#violations.add('StartPermitted', `${id} starts and its object is gone`, uid);
    else if (!history.permitted.has(`${epoch}/${run.contentVersion}@${machine.name}`)) {
      this.#violations.add('StartPermitted', `${id} starts and no acknowledged status permits it`, uid);
    }
    if (history.lastOn !== undefined && history.lastOn !== machine.name) this.#moves++;
    history.lastOn = machine.name;
    history.versions.set(run.contentVersion, run);
    history.newest = written(run, 1);
    history.running.set(run.number, { machine, copy });
    return run;
  }

  taskEnded(machine: Machine, copy: StoredCopy, why: string): void {
    this.#trace.add(machine.name, `task ENDS ${idOfKey(copy.key)} (${why})`);
    const history = this.#historyOf(copy.key.uid);
    for (const [number, one] of history.running) {
      if (one.copy !== copy) continue;
      history.running.delete(number);
      if (history.newest.run?.number === number && copy.content?.run?.number === number) history.newest = copy.content;
    }
  }

  removing(machine: Machine, copy: StoredCopy): void {
    const { uid, epoch } = copy.key;
    const { object, newest } = this.#historyOf(uid);
    this.#trace.add(machine.name, `removing ${idOfKey(copy.key)}`);
    if (newest.run === undefined || copy.content?.run === undefined || copy.hasRun !== true) return;
    const isReleased = object?.status.releases.some((release) => release.runnerName === machine.name && release.epoch === epoch);
    if (object === undefined || object.metadata.deletionTimestamp !== undefined) return;
    if (isReleased !== true) {
      this.#violations.add('RemovalRecorded', `${idOfKey(copy.key)} with content is removed from ${machine.name} without a record`, uid);
    }
    this.#checkKept(`${idOfKey(copy.key)} is removed from ${machine.name}`, uid, { runner: machine.name, epoch });
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
    noteRestore(object, history);
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
        if (copy.key.uid !== uid || copy.content === undefined || copy.hasRun !== true || noted(machine, copy)) continue;
        this.#violations.add('GoneMeansGone', `the object is gone and ${idOfKey(copy.key)} still lies on ${machine.name}`, uid);
      }
    }
  }

  /** The processes of a sandbox that run now. */
  running(uid: string): readonly { readonly machine: Machine; readonly copy: StoredCopy }[] {
    return [...(this.#histories.get(uid)?.running.values() ?? [])];
  }

  /** The newest bytes of a sandbox. */
  newest(uid: string): Content {
    return this.#histories.get(uid)?.newest ?? fromImage;
  }

  /** The run that was started last of those under this contentVersion or an older one. */
  lastRunUpTo(uid: string, contentVersion: number): Run | undefined {
    const runs = [...(this.#histories.get(uid)?.versions.values() ?? [])].filter((run) => run.contentVersion <= contentVersion);
    return runs.reduce<Run | undefined>(
      (last, run) => (last === undefined || run.contentVersion > last.contentVersion ? run : last),
      undefined,
    );
  }

  /** What the API server last had of it. */
  objectOf(uid: string): Sandbox | undefined {
    return this.#histories.get(uid)?.object;
  }

  #checkContent(id: string, { newest, restores }: History, { key, content = fromImage }: StoredCopy): void {
    if (content.isTorn) {
      this.#violations.add('WholeContent', `${id} starts on ${describeContent(content)}`, key.uid);
      return;
    }
    if (isSameContent(content, newest)) return;
    const asked = restores.get(key.epoch);
    const restored = asked === undefined ? undefined : this.#holders.ofBackup(asked);
    if (restored !== undefined && isSameContent(content, restored)) return;
    this.#violations.add('NewestContent', `${id} starts on ${describeContent(content)}; the newest is ${describeContent(newest)}`, key.uid);
  }

  /** The copy is not the only one that has the newest bytes. */
  #checkKept(what: string, uid: string, of: { readonly runner: string; readonly epoch: number }): void {
    const { newest } = this.#historyOf(uid);
    const content = this.#holders.at(of.runner, uid, of.epoch);
    if (content !== undefined && isSameContent(content, newest)) this.#checkHeld(what, uid, of);
  }

  /** Whatever the copy has, newest or not, another copy has it, too, or a backup of which every byte was read. */
  #checkHeld(what: string, uid: string, of: { readonly runner: string; readonly epoch: number }): void {
    const content = this.#holders.at(of.runner, uid, of.epoch);
    if (content?.run === undefined || this.#holders.hasOther(uid, content, of)) return;
    this.#violations.add('NewestKept', `${what}, and nothing else holds ${describeContent(content)}`, uid);
  }

  #checkStep(object: Sandbox, old: Sandbox, history: History): void {
    const { uid } = object.metadata;
    const [before, after] = [old.status, object.status];
    if (after.order < before.order) this.#violations.add('OrderRises', `order went from ${before.order} to ${after.order}`, uid);
    for (let version = after.contentVersion + 1; version <= before.contentVersion; version++) {
      if (history.versions.has(version)) this.#violations.add('VersionTakenBackOnProof', `version ${version} was taken back and ran`, uid);
    }
    const late = deadlineFault(object, before);
    if (late !== undefined) this.#violations.add('DeadlineKept', late, uid);
    const { previous } = after.assignment ?? {};
    const isMove = previous !== undefined && previous.runnerName !== after.runnerName;
    if (isMove && after.prevRunnerName !== previous.runnerName) {
      const said = after.prevRunnerName ?? 'none';
      this.#violations.add('PreviousKept', `moves from ${previous.runnerName}, and the runner before is said to be ${said}`, uid);
    }
    if (object.metadata.deletionTimestamp !== undefined) return;
    for (const { runnerName, epoch } of after.releases) {
      if (before.releases.some((one) => one.runnerName === runnerName && one.epoch === epoch)) continue;
      const of = { runner: runnerName, epoch };
      if (!this.#isRestored(object, of)) this.#checkHeld(`epoch ${epoch} on ${runnerName} is released`, uid, of);
    }
    this.#checkNamed(before, after, uid);
  }

  /** What runs or ran now was restored from a backup with just what the copy has. */
  #isRestored({ metadata: { uid }, status }: Sandbox, of: { readonly runner: string; readonly epoch: number }): boolean {
    const { source } = status.assignment ?? {};
    const restored = source?.kind === 'Backup' && status.startTime !== undefined ? this.#holders.ofBackup(source.digest ?? '') : undefined;
    const content = this.#holders.at(of.runner, uid, of.epoch);
    return restored !== undefined && content !== undefined && isSameContent(restored, content);
  }

  /** A copy that the object named, and that has run, is named until it is proven to be gone: whether it is the assigned one, the one before, kept or to be removed. */
  #checkNamed(before: Sandbox['status'], after: Sandbox['status'], uid: string): void {
    const named = new Set(namedBy(after).map(({ runnerName, epoch }) => `${epoch}@${runnerName}`));
    for (const { runnerName, epoch, isReleased } of namedBy(before)) {
      const content = isReleased ? undefined : this.#holders.at(runnerName, uid, epoch);
      if (content?.run === undefined || named.has(`${epoch}@${runnerName}`)) continue;
      this.#violations.add('CopyNamed', `epoch ${epoch} on ${runnerName}, with ${describeContent(content)}, is named no more`, uid);
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
    const history: History = {
      newest: fromImage,
      versions: new Map(),
      restores: new Map(),
      running: new Map(),
      permitted: new Set(),
      object: undefined,
    };
    this.#histories.set(uid, history);
    return history;
  }
}

/** Every copy that a status names. */
function namedBy({ runnerName, assignment, releases, superseded }: Sandbox['status']) {
  const own = runnerName === undefined || assignment === undefined ? [] : [{ runnerName, epoch: assignment.epoch }];
  const before = assignment?.previous === undefined ? [] : [assignment.previous];
  const kept = [...own, ...before, ...superseded].map((copy) => ({ runnerName: copy.runnerName, epoch: copy.epoch, isReleased: false }));
  return [...kept, ...releases.map((copy) => ({ runnerName: copy.runnerName, epoch: copy.epoch, isReleased: true }))];
}

/** The user asks for this very backup, and was not answered yet. */
function noteRestore({ spec: { restore }, status }: Sandbox, { restores }: History): void {
  const { assignment } = status;
  if (restore === undefined || restore.requestID === status.restore?.requestID) return;
  if (assignment?.source.kind === 'Backup' && assignment.source.digest === restore.digest) restores.set(assignment.epoch, restore.digest);
}

import type { ResourceAmounts, Runner, Sandbox, SandboxStatus } from '../../../crds/index.ts';
import { effectiveResources } from '../../../crds/index.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import type { Machine } from '../models/machine.ts';
import type { RegistryModel } from '../models/registry.ts';
import { isCurrent } from './backups.ts';
import type { Calm } from './calm.ts';
import type { Violations } from './violation.ts';

/** What is asked of the world. */
export interface LoadSources {
  readonly violations: Violations;
  readonly scheduler: Scheduler;
  readonly calm: Calm;
  readonly registry: Pick<RegistryModel, 'conditionOf'>;
  sandboxes(): readonly Sandbox[];
  machine(runnerName: string): Machine | undefined;
  reservedMemory(machine: Machine): number;
}

interface Load {
  /** uids of those that run there or are to. */
  readonly started: ReadonlySet<string>;
  /** Those, and what may run. */
  readonly counted: ReadonlySet<string>;
  readonly spec: Runner['spec'];
}

/** Longer than a change takes to reach the operator in good weather. */
const knownMs = 10_000;
/** What others have decided meanwhile, which counts already, is acknowledged by then. */
const underWayMs = 5_000;
/** Whatever has gone wrong: after this long an operator leads, each runner is connected, and none is left alone for its failures any more. */
const calmMs = 15 * 60_000;

/**
 * Judges starts in place against the load: D12 of docs/assignment.md, once more and differently written. What has been so for a while, with nothing going wrong,
 * the operator must have known.
 */
export class LoadChecks {
  readonly #sources: LoadSources;
  readonly #loads = new Map<string, Load>();
  /** Since when a runner has had too many, and another one has had fewer and has not changed. By `from → to`. */
  readonly #since = new Map<string, number>();

  constructor(sources: LoadSources) {
    this.#sources = sources;
  }

  /** The API server acknowledged this Runner. */
  noted({ metadata: { name }, spec }: Runner): void {
    const load = this.#loads.get(name);
    if (load?.spec !== spec) this.#change(name, { ...(load ?? nobody), spec });
  }

  /** The API server acknowledged this object. */
  acknowledged(object: Sandbox, old: Sandbox | undefined): void {
    const { spec, status, metadata } = object;
    const isOther = old?.spec !== spec || old.status.state !== status.state || old.status.runnerName !== status.runnerName;
    if (!isOther) return;
    for (const name of new Set([old?.status.runnerName, status.runnerName])) this.#count(name, metadata.uid, status);
    if (old !== undefined && isStartInPlace(old.status, status)) this.#judgeLater(object, old.status);
  }

  /** The object is gone. */
  gone({ metadata: { uid }, status }: Sandbox): void {
    this.#count(status.runnerName, uid, undefined);
  }

  #count(name: string | undefined, uid: string, status: SandboxStatus | undefined): void {
    const load = this.#loads.get(name ?? '');
    if (name === undefined || load === undefined) return;
    const isThere = status?.runnerName === name;
    const started = counting(load.started, uid, isThere && startedStates.has(status.state));
    const counted = counting(load.counted, uid, isThere && !restingStates.has(status.state));
    this.#change(name, { ...load, started, counted });
  }

  #change(name: string, load: Load): void {
    this.#loads.set(name, load);
    for (const other of this.#loads.keys()) {
      if (other === name) continue;
      // Its room may be another than before, too.
      this.#since.delete(pairOf(other, name));
      this.#see(other, name);
      this.#see(name, other);
    }
  }

  /** The one that is to start may be among those that are counted: it is judged as if one more were needed. */
  #see(from: string, to: string): void {
    const [here, there] = [this.#loads.get(from), this.#loads.get(to)];
    if (here === undefined || there === undefined) return;
    const [others, count] = [here.started.size - 1, there.counted.size];
    const isTooMuch = others > here.spec.maxStarted;
    const isLess = count < there.spec.maxStarted && count < others && !there.spec.unschedulable;
    const pair = pairOf(from, to);
    if (!isTooMuch || !isLess) this.#since.delete(pair);
    else if (!this.#since.has(pair)) this.#since.set(pair, this.#sources.scheduler.now);
  }

  #judgeLater({ metadata, spec, status }: Sandbox, before: SandboxStatus): void {
    const { scheduler, calm, violations, registry } = this.#sources;
    const { runnerName = '' } = status;
    const record = before.backup?.history.findLast((one) => isCurrent(one, before));
    if (record === undefined || registry.conditionOf(record.repository, record.digest) !== 'Whole') return;
    const at = scheduler.now;
    scheduler.after(underWayMs, () => {
      if (!calm.hasLasted(calmMs)) return;
      const target = [...this.#loads.keys()].find((name) => {
        const since = this.#since.get(pairOf(runnerName, name)) ?? Infinity;
        return since <= at - knownMs && this.#hasRoom(name, effectiveResources(spec).requests);
      });
      if (target === undefined) return;
      const [here, there] = [this.#loads.get(runnerName), this.#loads.get(target)];
      const many = `${here?.started.size ?? 0} started and should have ${here?.spec.maxStarted ?? 0}`;
      const text = `starts in place on ${runnerName}, which has ${many}, while ${target} has ${there?.counted.size ?? 0}`;
      violations.add('LoadShed', text, metadata.uid);
    });
  }

  #hasRoom(name: string, { memoryBytes, diskBytes }: ResourceAmounts): boolean {
    const sources = this.#sources;
    const machine = sources.machine(name);
    if (machine === undefined) return false;
    const counted = sources.sandboxes().filter(({ metadata }) => this.#loads.get(name)?.counted.has(metadata.uid));
    const memory = counted.reduce((sum, { spec }) => sum + effectiveResources(spec).requests.memoryBytes, sources.reservedMemory(machine));
    const disk = [...machine.copies.values()].reduce((sum, { requests }) => sum + requests.diskBytes, 0);
    return memory + memoryBytes <= machine.capacity.memoryBytes && disk + diskBytes <= machine.capacity.diskBytes;
  }
}

const nobody = { started: new Set<string>(), counted: new Set<string>() };
const startedStates: ReadonlySet<SandboxStatus['state']> = new Set(['Creating', 'Restoring', 'Starting', 'Started']);
const restingStates: ReadonlySet<SandboxStatus['state']> = new Set(['Pending', 'Stopped', 'Archived']);

/** It was at rest and starts where it lies. */
function isStartInPlace(before: SandboxStatus, after: SandboxStatus): boolean {
  const isSamePlace = before.runnerName === after.runnerName && before.assignment?.epoch === after.assignment?.epoch;
  return (
    after.state === 'Starting' && isSamePlace && (before.state === 'Stopped' || before.state === 'Pending' || before.state === 'Error')
  );
}

function counting(uids: ReadonlySet<string>, uid: string, isIn: boolean): ReadonlySet<string> {
  return new Set([...uids, uid].filter((one) => one !== uid || isIn));
}

function pairOf(from: string, to: string): string {
  return `${from} → ${to}`;
}

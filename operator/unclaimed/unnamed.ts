import type { Runner, Sandbox } from '../../crds/index.ts';
import type { RunnerFacts } from '../hub/facts.ts';
import type { CopyView } from '../lifecycle/snapshot.ts';

/** A copy on a runner that no object names, as far as the cache knows: to be confirmed by the API server. */
export interface UnnamedCopy {
  readonly uid: string;
  readonly epoch: number;
  readonly namespace: string;
  readonly name: string;
  /** NoObject: there is none with this uid. Superseded: the object names other copies. */
  readonly kind: 'NoObject' | 'Superseded';
}

/** Where a copy lies. */
interface Place {
  readonly runnerName: string;
  readonly storeID: string;
  readonly epoch: number;
}

/** The copies on a connected runner that neither a Sandbox nor the Runner's `removals` name. Pure; in the agent's order. */
export function unnamedCopies(facts: RunnerFacts, runner: Runner, sandboxOf: (uid: string) => Sandbox | undefined): readonly UnnamedCopy[] {
  return [...facts.copies].flatMap(([key, copy]) => {
    const [uid, epoch] = splitKey(key);
    const place: Place = { runnerName: facts.runnerName, storeID: facts.storeID, epoch };
    const { namespace, name } = copy;
    if (!isThere(copy) || namespace === '' || name === '' || isToBeRemoved(runner, uid, place)) return [];
    const sandbox = sandboxOf(uid);
    if (sandbox !== undefined && isNamed(sandbox, place)) return [];
    return [{ uid, epoch, namespace, name, kind: sandbox === undefined ? 'NoObject' : 'Superseded' } as const];
  });
}

/** What an object of this name, as the API server has just answered, makes of the copy: undefined when it names it. */
export function confirmed(
  copy: UnnamedCopy,
  { runnerName, storeID }: Pick<RunnerFacts, 'runnerName' | 'storeID'>,
  sandbox: Sandbox | undefined,
): UnnamedCopy | undefined {
  if (sandbox?.metadata.uid !== copy.uid) return { ...copy, kind: 'NoObject' };
  return isNamed(sandbox, { runnerName, storeID, epoch: copy.epoch }) ? undefined : { ...copy, kind: 'Superseded' };
}

/** The object assigns the copy, would go back to it, or has it removed. */
export function isNamed({ status }: Sandbox, place: Place): boolean {
  const { runnerName, assignment, releases } = status;
  const assigned = runnerName === undefined || assignment === undefined ? [] : [{ ...assignment, runnerName }];
  const previous = assignment?.previous === undefined ? [] : [assignment.previous];
  return [...assigned, ...previous, ...releases].some((one) => isSamePlace(one, place));
}

function isToBeRemoved({ status }: Runner, uid: string, { storeID, epoch }: Place): boolean {
  return status.removals.some((one) => one.uid === uid && one.epoch === epoch && one.storeID === storeID);
}

function isSamePlace(a: Place, b: Place): boolean {
  return a.runnerName === b.runnerName && a.storeID === b.storeID && a.epoch === b.epoch;
}

/** Something of the sandbox runs or lies there. What was only made ready, before or without an order, goes by itself. */
function isThere({ state, contentVersion }: CopyView): boolean {
  switch (state) {
    case 'Starting':
    case 'Running':
    case 'Stopping':
    case 'Stopped':
      return true;
    case 'Preparing':
    case 'Prepared':
    case 'Rejected':
      return contentVersion > 0;
    case 'Absent':
    case 'Missing':
      return false;
  }
}

function splitKey(key: string): readonly [uid: string, epoch: number] {
  const at = key.lastIndexOf('/');
  return [key.slice(0, at), Number(key.slice(at + 1))];
}

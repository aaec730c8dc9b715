import { Random } from '../../simulation/engine/random.ts';

/** What a user asks of one sandbox. */
export interface Operation {
  readonly kind: 'operation';
  readonly operation: 'create' | 'start' | 'stop' | 'restart' | 'delete';
  readonly name: string;
  /** Names this restart. */
  readonly restartID: string;
  /** Wait until it is done before the next step. */
  readonly settle: boolean;
}

/** What can fail. */
export const targets = ['operator-1', 'operator-2', 'agent-1', 'agent-2', 'containerd-1', 'containerd-2', 'apiserver', 'etcd'] as const;
export type Target = (typeof targets)[number];

export interface Fault {
  readonly kind: 'fault';
  readonly target: Target;
  readonly how: 'kill' | 'freeze';
}

/** The part is started, or thawed. */
export interface Recovery {
  readonly kind: 'recovery';
  readonly target: Target;
}

export interface Pause {
  readonly kind: 'pause';
  readonly ms: number;
}

export type Step = Operation | Fault | Recovery | Pause;

export interface WalkPlan {
  readonly seed: string;
  readonly steps: readonly Step[];
  /** What each sandbox is to be in the end; those that are not named are deleted. */
  readonly wanted: ReadonlyMap<string, Wanted>;
}

export type Wanted = 'Started' | 'Stopped';

export interface WalkSize {
  readonly operations: number;
  readonly sandboxes: number;
  /** A fault begins before an operation with this probability. */
  readonly faultChance: number;
}

/** Without an API server nobody can ask for anything: such a fault is over before the next operation. */
const isOutage = (target: Target) => target === 'apiserver' || target === 'etcd';

/** A walk of users and faults: a function of the seed alone. A fault of one part may last over several operations and beside faults of others. */
export function planWalk(seed: string, { operations, sandboxes, faultChance }: WalkSize): WalkPlan {
  const users = new Random(seed).fork('users');
  const faults = new Random(seed).fork('faults');
  const places: (string | undefined)[] = Array.from({ length: sandboxes });
  const wanted = new Map<string, Wanted>();
  const down = new Map<Target, number>();
  const steps: Step[] = [];
  for (let at = 1; at <= operations; at += 1) {
    for (const [target, until] of [...down]) {
      if (until > at) continue;
      down.delete(target);
      steps.push({ kind: 'recovery', target });
    }
    if (faults.chance(faultChance)) steps.push(...fault(faults, down, at));
    steps.push(operation(users, places, wanted, at));
    steps.push({ kind: 'pause', ms: users.between(0, 400) });
  }
  for (const target of down.keys()) steps.push({ kind: 'recovery', target });
  return { seed, steps, wanted };
}

/** A name is never used twice: nobody has to wait until the one before is gone, which may take until a fault is over. */
function operation(users: Random, places: (string | undefined)[], wanted: Map<string, Wanted>, at: number): Operation {
  const place = users.between(0, places.length - 1);
  const name = places[place] ?? `walk-${at}`;
  const now = wanted.get(name);
  const chosen =
    now === undefined ? 'create' : users.weighted(now === 'Started' ? { stop: 4, restart: 3, delete: 2 } : { start: 5, delete: 1 });
  places[place] = chosen === 'delete' ? undefined : name;
  if (chosen === 'delete') wanted.delete(name);
  else wanted.set(name, chosen === 'stop' ? 'Stopped' : 'Started');
  return { kind: 'operation', operation: chosen, name, restartID: `walk-${at}`, settle: users.chance(0.3) };
}

function fault(faults: Random, down: Map<Target, number>, at: number): readonly Step[] {
  const target = faults.pick(targets.filter((one) => !down.has(one)));
  const how = faults.pick(['kill', 'freeze'] as const);
  const begin: Fault = { kind: 'fault', target, how };
  if (isOutage(target)) return [begin, { kind: 'pause', ms: faults.between(200, 3_000) }, { kind: 'recovery', target }];
  down.set(target, at + faults.between(1, 8));
  return [begin];
}

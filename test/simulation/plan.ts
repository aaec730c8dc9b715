import { Random } from './engine/random.ts';

/** How large a history is. */
export interface Scale {
  readonly runners: number;
  readonly operators: number;
  readonly sandboxes: number;
  readonly operations: number;
  readonly faults: number;
  /** Virtual time in which operations and faults happen; afterwards everything is healed and has to settle. */
  readonly virtualMs: number;
  /** How many times slower than usual Leases are renewed and runtimes listed: of hours in which little happens they would be most. */
  readonly pace: number;
}

/** Small enough for a thousand histories in every run of the tests. */
export const smallScale: Scale = { runners: 2, operators: 2, sandboxes: 4, operations: 24, faults: 10, virtualMs: 15 * 60_000, pace: 1 };

/** Hours of a fleet. */
export const largeScale: Scale = {
  runners: 3,
  operators: 2,
  sandboxes: 10,
  operations: 300,
  faults: 20,
  virtualMs: 6 * 3_600_000,
  pace: 5,
};

export type Operation = { readonly at: number } & (
  | { readonly kind: 'create'; readonly slot: number; readonly shape: Shape }
  | { readonly kind: 'start' | 'stop' | 'restart' | 'delete' | 'deleteAndCreate'; readonly slot: number; readonly shape: Shape }
  | { readonly kind: 'archive' | 'backup' | 'restore' | 'policy' | 'deletePushed'; readonly slot: number; readonly shape: Shape }
  /** Every sandbox is stopped, or every one is started, at once. */
  | { readonly kind: 'startAll' | 'stopAll'; readonly shape: Shape }
  | { readonly kind: 'change'; readonly slot: number; readonly what: 'env' | 'command' | 'memory'; readonly shape: Shape }
  | { readonly kind: 'cordon' | 'uncordon'; readonly runner: number }
  | { readonly kind: 'maxStarted'; readonly runner: number; readonly count: number }
);

/** What a user asks for. */
export interface Shape {
  readonly program: 'serve' | 'stubborn' | 'job' | 'missing' | 'invalid';
  readonly runMs: number;
  readonly exitCode: number;
  readonly image: 'base' | 'other' | 'not-there';
  readonly restartPolicy: 'Always' | 'OnFailure' | 'Never';
  readonly desiredState: 'Started' | 'Stopped';
  readonly memoryMi: number;
  readonly backup: 'OnStop' | 'Interval' | 'Manual' | 'Never';
  /** How many backups are kept. */
  readonly retain: number;
  /** Whether backups outlive the object. */
  readonly reclaim: 'Delete' | 'Retain';
}

/** It runs until it is stopped, and is backed up whenever it is. */
export const servingShape: Shape = {
  program: 'serve',
  runMs: 0,
  exitCode: 0,
  image: 'base',
  restartPolicy: 'Always',
  desiredState: 'Started',
  memoryMi: 64,
  backup: 'OnStop',
  retain: 3,
  reclaim: 'Delete',
};

const short = [500, 3_000, 20_000];
const long = [5_000, 30_000, 90_000, 300_000];
const spell = [5_000, 30_000, 90_000];

/** What can go wrong: how often it is drawn, and for how long it lasts, in milliseconds. */
const faultKinds = {
  agentCrash: { weight: 6, lasts: short },
  agentPause: { weight: 3, lasts: long },
  reboot: { weight: 2, lasts: short },
  wipe: { weight: 3, lasts: short },
  journalFails: { weight: 2, lasts: short },
  agentCutOff: { weight: 2, lasts: long },
  containerdRestart: { weight: 3, lasts: short },
  runtimeTrouble: { weight: 5, lasts: long },
  exits: { weight: 4, lasts: [0] },
  operatorCrash: { weight: 5, lasts: short },
  operatorPause: { weight: 3, lasts: long },
  operatorPauseAtWrite: { weight: 6, lasts: long },
  writeHeld: { weight: 7, lasts: long },
  operatorCutOff: { weight: 2, lasts: long },
  linkBreak: { weight: 5, lasts: [0] },
  linkCut: { weight: 3, lasts: long },
  ordersFrozen: { weight: 5, lasts: long },
  reportsFrozen: { weight: 4, lasts: long },
  replay: { weight: 8, lasts: [0] },
  apiDown: { weight: 2, lasts: spell },
  apiTrouble: { weight: 5, lasts: spell },
  watchLag: { weight: 4, lasts: spell },
  compaction: { weight: 1, lasts: [0] },
  registryDown: { weight: 4, lasts: long },
  registryTrouble: { weight: 4, lasts: long },
  registryCutOff: { weight: 3, lasts: long },
  backupHarmed: { weight: 5, lasts: [0] },
} as const satisfies Readonly<Record<string, { readonly weight: number; readonly lasts: readonly number[] }>>;

export type FaultKind = keyof typeof faultKinds;

/** One thing that goes wrong; the runner or operator counts for the kinds that are about one. */
export interface Fault {
  readonly at: number;
  readonly forMs: number;
  readonly kind: FaultKind;
  readonly runner: number;
  readonly operator: number;
}

/** Everything that a history is made of. The seed decides latencies and single failures; operations and faults are here, so that they can be cut. */
export interface Plan {
  readonly seed: string;
  readonly scale: Scale;
  readonly operations: readonly Operation[];
  readonly faults: readonly Fault[];
}

export function planOf(seed: string, scale: Scale): Plan {
  const random = new Random(`plan/${seed}`);
  const operations = times(scale.operations, (n) => operationOf(random.fork(`operation/${n}`), n, scale)).sort((a, b) => a.at - b.at);
  const faults = times(scale.faults, (n) => faultOf(random.fork(`fault/${n}`), scale)).sort((a, b) => a.at - b.at);
  return { seed, scale, operations, faults };
}

function times<T>(count: number, make: (n: number) => T): T[] {
  return Array.from({ length: count }, (_, n) => make(n));
}

function operationOf(random: Random, n: number, scale: Scale): Operation {
  if (n < scale.sandboxes)
    return { at: random.between(0, Math.min(60_000, scale.virtualMs)), kind: 'create', slot: n, shape: shapeOf(random) };
  const at = random.between(0, scale.virtualMs);
  const slot = random.between(0, scale.sandboxes - 1);
  const shape = shapeOf(random);
  const kind = random.weighted({
    create: 3,
    start: 8,
    stop: 8,
    restart: 2,
    delete: 2,
    deleteAndCreate: 1,
    change: 3,
    cordon: 3,
    uncordon: 3,
    archive: 2,
    backup: 2,
    restore: 2,
    policy: 1,
    startAll: 1,
    stopAll: 1,
    maxStarted: 1,
  });
  switch (kind) {
    case 'cordon':
    case 'uncordon':
      return { at, kind, runner: random.between(0, scale.runners - 1) };
    case 'maxStarted':
      return { at, kind, runner: random.between(0, scale.runners - 1), count: random.pick([1, 2, 35]) };
    case 'startAll':
    case 'stopAll':
      return { at, kind, shape };
    case 'change':
      return { at, kind, slot, what: random.pick(['env', 'command', 'memory'] as const), shape };
    case 'delete':
      return { at, kind: random.chance(0.5) ? kind : 'deletePushed', slot, shape };
    default:
      return { at, kind, slot, shape };
  }
}

function shapeOf(random: Random): Shape {
  return {
    program: random.weighted({ serve: 14, stubborn: 2, job: 4, missing: 1, invalid: 1 }),
    runMs: random.pick([50, 2_000, 20_000, 120_000]),
    exitCode: random.pick([0, 0, 1, 3]),
    image: random.weighted({ base: 12, other: 5, 'not-there': 1 }),
    restartPolicy: random.weighted({ Always: 5, OnFailure: 3, Never: 2 }),
    desiredState: random.chance(0.85) ? 'Started' : 'Stopped',
    memoryMi: random.pick([256, 512, 512, 2048]),
    backup: random.weighted({ OnStop: 12, Interval: 3, Manual: 2, Never: 1 }),
    retain: random.pick([1, 2, 3]),
    reclaim: random.chance(0.8) ? 'Delete' : 'Retain',
  };
}

function faultOf(random: Random, scale: Scale): Fault {
  const weights = Object.fromEntries(Object.entries(faultKinds).map(([kind, { weight }]) => [kind, weight])) as Record<FaultKind, number>;
  const kind = random.weighted(weights);
  return {
    at: random.between(500, scale.virtualMs),
    forMs: random.pick(faultKinds[kind].lasts),
    kind,
    runner: random.between(0, scale.runners - 1),
    operator: random.between(0, scale.operators - 1),
  };
}

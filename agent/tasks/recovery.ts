import type { TaskEndReason } from './codes.ts';
import type { TaskEntry } from './record.ts';

/** What is left of a task, as an agent finds it that was started anew. */
export interface Remains {
  /** The runtime's process of the task. */
  readonly process: 'None' | 'Created' | 'Running' | 'Stopped';
  /** In a sandbox: whether the very process lives that it was to run beside. One-shot: of no meaning. */
  readonly hasSandbox: boolean;
  /** How it ended was noted before its process was removed. */
  readonly hasExit: boolean;
  /** What it was to run is there. */
  readonly hasSpec: boolean;
  readonly bootID: string;
}

export type Recovery =
  | { readonly kind: 'Done' }
  /** Nothing ran: make and start it. */
  | { readonly kind: 'Begin' }
  /** It is made and never ran: start it. */
  | { readonly kind: 'Start' }
  /** It is made, and a start of it may have failed or be under way: that is found out, and it goes on from there. */
  | { readonly kind: 'TakeBack' }
  | { readonly kind: 'Follow' }
  /** It ended: record how. */
  | { readonly kind: 'Finish' }
  /** Nobody can say any more how it ended. */
  | { readonly kind: 'Lost'; readonly mayHaveRun: boolean; readonly reason: TaskEndReason };

/** How it goes on with a task after the agent was away. Never a second run: what may have run and left no trace is lost. */
export function decideRecovery({ task, started, result }: TaskEntry, remains: Remains): Recovery {
  if (result !== undefined) return { kind: 'Done' };
  if (remains.hasExit) return { kind: 'Finish' };
  switch (remains.process) {
    case 'Created':
      return { kind: task.place.kind === 'OneShot' ? 'Start' : 'TakeBack' };
    case 'Running':
      return { kind: 'Follow' };
    case 'Stopped':
      return { kind: 'Finish' };
    case 'None':
      break;
  }
  // A process of a sandbox is kept by its shim until it is removed, so that none beside a sandbox that lives on proves that it never ran.
  const neverRan = started === undefined || (task.place.kind === 'Sandbox' && remains.hasSandbox);
  if (neverRan && remains.hasSpec && (task.place.kind === 'OneShot' || remains.hasSandbox)) return { kind: 'Begin' };
  return { kind: 'Lost', mayHaveRun: !neverRan, reason: lostBecause(neverRan, task.place.kind, started?.bootID !== remains.bootID) };
}

function lostBecause(neverRan: boolean, place: 'Sandbox' | 'OneShot', isOtherBoot: boolean): TaskEndReason {
  if (neverRan) return 'AgentRestarted';
  if (isOtherBoot) return 'RunnerRebooted';
  return place === 'Sandbox' ? 'SandboxStopped' : 'ProcessLost';
}

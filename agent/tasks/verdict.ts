import { taskEndReasons, type TaskEndReason, type TaskLimitName } from './codes.ts';
import type { TaskLimits, TaskOutcome, TaskResult } from './record.ts';

/** How a process ended, as the runtime tells it: 128 + n for one that signal n ended. */
export interface Exit {
  readonly status: number;
  readonly finishMs: number;
}

/** What is known of a task that has ended. */
export interface TaskEnding {
  /** Undefined: nobody saw it. */
  readonly exit: Exit | undefined;
  /** What the agent itself killed it for. */
  readonly killedFor: TaskLimitName | 'Cancel' | undefined;
  /** The sandbox that it ran in has ended too. */
  readonly sandboxEnded: boolean;
  /** Processes of its own container that the kernel killed for want of memory. */
  readonly oomKills: number;
  /** It was refused a process of its own container. */
  readonly pidsRefused: boolean;
  /** Whether the usage is exact. */
  readonly isMeasured: boolean;
  readonly limits: TaskLimits;
  readonly usage: TaskResult['usage'];
  readonly outputBytes: number;
}

type Verdict = Pick<TaskResult, 'outcome' | 'exitCode' | 'signal' | 'limit' | 'mayHaveRun' | 'reason' | 'message'>;

const sigkill = 9;
const largestSignal = 64;

/** What is told of how it ended. First match wins. */
export function verdictOf(ending: TaskEnding): Verdict {
  const { exit, killedFor, sandboxEnded } = ending;
  const died = statusOf(exit?.status ?? 255);
  const wasKilled = died.signal === sigkill;
  const limit = limitOf(ending, wasKilled);
  if (sandboxEnded && killedFor === undefined && (exit === undefined || wasKilled))
    return { ...ended('SandboxStopped', 'SandboxStopped'), ...died };
  if (exit === undefined) return ended('Lost', 'ProcessLost');
  if (limit !== '') return { ...ended('LimitExceeded', ''), ...died, limit };
  if (killedFor === 'Cancel') return { ...ended('Cancelled', ''), ...died };
  return { ...ended('Exited', ''), ...died, limit: hint(ending, died.exitCode) };
}

/** The limit that ended it, or that it was over when it ended by itself. */
function limitOf({ killedFor, limits, usage, isMeasured, outputBytes, oomKills }: TaskEnding, wasKilled: boolean): TaskLimitName | '' {
  if (killedFor !== undefined && killedFor !== 'Cancel' && wasKilled) return killedFor;
  if (isMeasured && limits.cpuTimeMs > 0 && usage.cpuTimeUs > limits.cpuTimeMs * 1000) return 'CpuTime';
  if (limits.outputBytes > 0 && outputBytes > limits.outputBytes) return 'Output';
  return oomKills > 0 && wasKilled && killedFor === undefined ? 'Memory' : '';
}

/** What may be why it failed, though it ended by itself. */
function hint({ oomKills, pidsRefused }: TaskEnding, exitCode: number): TaskLimitName | '' {
  if (exitCode === 0) return '';
  if (oomKills > 0) return 'Memory';
  return pidsRefused ? 'Pids' : '';
}

function statusOf(status: number) {
  const signal = status > 128 && status <= 128 + largestSignal ? status - 128 : 0;
  return { exitCode: status, signal };
}

function ended(outcome: TaskOutcome, reason: TaskEndReason | ''): Verdict {
  const message = reason === '' ? '' : taskEndReasons[reason];
  return { outcome, exitCode: 0, signal: 0, limit: '', mayHaveRun: true, reason, message };
}

/** It never ran, and why. */
export function startFailed(reason: TaskEndReason, message: string): Verdict {
  return { ...ended('StartFailed', reason), mayHaveRun: false, message };
}

/** Nobody knows how it ended. */
export function lost(reason: TaskEndReason, mayHaveRun: boolean): Verdict {
  return { ...ended('Lost', reason), mayHaveRun };
}

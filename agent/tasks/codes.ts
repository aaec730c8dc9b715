/**
 * Why the agent refuses a request about tasks, having done nothing. On the wire in TaskRejection; the HTTP API maps each to a status of its own
 * (429, 503, 409, 404, 400).
 */
export const taskRejections = {
  NoSlot: 'Every slot is taken, or others wait for the next one.',
  QueueFull: 'Too many tickets wait at this runner.',
  AgentEnding: 'The agent is being stopped.',
  DiskFull: 'There is no room on the disk of the runner.',
  OfferExpired: 'The slot was offered and not taken in time, or there was no such offer.',
  ReservationGone: 'There is no such reservation: it expired, was released, or never was.',
  ReservationUsed: 'Another task was run under the reservation.',
  IdempotencyConflict: 'The key was used for another request.',
  StoreMismatch: 'The runner has another disk now.',
  SandboxNotRunning: 'The sandbox does not run on this runner.',
  SandboxChanged: 'The sandbox was started anew meanwhile.',
  SandboxPaused: 'The sandbox is paused for a backup.',
  LimitUnsupported: 'The limit can not be kept where the task runs.',
  FilesUnsupported: 'Files go in and out of one-shots only.',
  InvalidTask: 'The request can not be understood.',
  UploadGone: 'An input was not uploaded, or too long ago.',
  TaskGone: 'There is no such task, or its result was kept long enough.',
  TaskEnded: 'The task has ended.',
  TaskNotStarted: 'The task has not started yet.',
  TransferUnavailable: 'The data can not be transferred now: stdin is fed by another transfer, or there are too many.',
} as const;

export type TaskRejectionCode = keyof typeof taskRejections;

/** Why a task that was accepted ended otherwise than by itself. On the wire in TaskEnd. */
export const taskEndReasons = {
  CommandNotFound: 'The program is not there.',
  CommandNotExecutable: 'The program can not be executed.',
  WorkingDirNotFound: 'The working directory is not there.',
  ImageFailed: 'The image can not be had.',
  OutOfDisk: 'There is no room on the disk of the runner.',
  RuntimeFailed: 'The container runtime failed.',
  SandboxStopped: 'The sandbox was stopped or ended.',
  AgentRestarted: 'The agent was restarted before it started.',
  RunnerRebooted: 'The machine was booted anew.',
  SandboxPaused: 'The sandbox stayed paused for a backup.',
  ProcessLost: 'The container runtime lost the process.',
} as const;

export type TaskEndReason = keyof typeof taskEndReasons;

/** Limits that end a task, and Pids, which only refuses further processes. */
export const taskLimitNames = ['CpuTime', 'WallTime', 'Memory', 'Pids', 'Output'] as const;

export type TaskLimitName = (typeof taskLimitNames)[number];

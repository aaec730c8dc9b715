import type { ImageCredential, Variable } from '../copies/runtime.ts';
import type { OutputFile } from './record.ts';
import type { Exit } from './verdict.ts';

/**
 * The container runtime as tasks see it: a port, over containerd in agent/containerd. Every call may be repeated. Rejects with a TaskStartError
 * where it is certain that nothing ran, with anything else where the caller does not know.
 */
export interface TaskRuntime {
  /** Whether the sandbox's main process is there. */
  sandbox(containerID: string): Promise<'Running' | 'Paused' | 'Gone'>;
  /** A process in a sandbox that runs, made and not started. Rejects with `SandboxPaused` while that is paused. */
  createCommand(ref: ProcessRef, command: Command, io: TaskIO): Promise<void>;
  /** A container of its own, made and not started. */
  createOneShot(id: string, oneShot: OneShot, io: TaskIO, signal: AbortSignal): Promise<void>;
  start(ref: ProcessRef): Promise<void>;
  /**
   * Takes a process of a sandbox back that was made, and of which nobody knows whether it was started. `None`: nothing is left, and as far as the runtime
   * can say it never ran; else it is found as told. To start it again instead would end the shim, with all that is in it, if the first start had failed.
   */
  withdraw(ref: ProcessRef): Promise<ProcessState>;
  stateOf(ref: ProcessRef): Promise<ProcessState>;
  /** Resolves when it has ended; undefined when it is gone and nobody saw how. */
  wait(ref: ProcessRef, signal: AbortSignal): Promise<Exit | undefined>;
  /** Does nothing when it has ended. */
  signal(ref: ProcessRef, signal: number): Promise<void>;
  /** Nothing follows in the FIFO that is its stdin, once nobody else holds it open. */
  closeStdin(ref: ProcessRef): Promise<void>;
  /** Sends SIGKILL to it and to all that are known to descend from it. */
  kill(ref: ProcessRef): Promise<void>;
  /** What it has used so far. Of a process in a sandbox: as far as its descendants can be seen. */
  measure(ref: ProcessRef): Promise<Measures>;
  /** Removes the process, which has ended: its output is complete then. Of a one-shot all of its processes are proven gone. */
  remove(ref: ProcessRef): Promise<void>;
  /** Keeps files of a one-shot that has ended: no more than so many bytes in all. */
  collect(id: string, files: readonly WantedFile[], mostBytes: number): Promise<readonly OutputFile[]>;
  /** Removes all that is left of a one-shot. */
  removeOneShot(id: string): Promise<void>;
  /** The ids of the one-shots of which something is there. */
  oneShots(): Promise<readonly string[]>;
}

/** A file that is kept, by copying it to `to`. */
export interface WantedFile {
  readonly path: string;
  readonly to: string;
  /** Where it lies on the machine, when it was given to the container under this path; else in the container's own files. */
  readonly source: string | undefined;
}

/** A process: the main one of a container when `execID` is empty. */
export interface ProcessRef {
  readonly containerID: string;
  readonly execID: string;
}

export interface ProcessState {
  readonly kind: 'None' | 'Created' | 'Running' | 'Stopped';
  /** Of a stopped one. */
  readonly exit: Exit | undefined;
}

/** Absolute paths of files that are there. */
export interface TaskIO {
  /** A file or a FIFO; empty: none. */
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Command {
  readonly args: readonly string[];
  readonly env: readonly Variable[];
  /** Empty: that of the container. */
  readonly workingDir: string;
  /** Names the start of the sandbox that it runs beside: what is known of its container holds for one. */
  readonly contentVersion: number;
}

export interface OneShot {
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly namespace: string;
  readonly credentials: readonly ImageCredential[];
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: readonly Variable[];
  readonly workingDir: string;
  readonly runAsUser: number | undefined;
  readonly runAsGroup: number | undefined;
  /** What its slot is given when there is not enough for all. */
  readonly shareCpuMillis: number;
  readonly cpuMillis: number;
  readonly cpuTimeMs: number;
  readonly memoryBytes: number;
  readonly pids: number;
  /** Files of the machine that it sees under these paths, and that become its user's. */
  readonly files: readonly { readonly path: string; readonly source: string }[];
}

export interface Measures {
  readonly cpuTimeUs: number;
  /** 0: not known. */
  readonly memoryPeakBytes: number;
  readonly oomKills: number;
  readonly pidsRefused: boolean;
}

export const nothingMeasured: Measures = { cpuTimeUs: 0, memoryPeakBytes: 0, oomKills: 0, pidsRefused: false };

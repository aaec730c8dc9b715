import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, openSync, closeSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BerthError, messageOf } from '../../process/errors.ts';
import { lastLines } from '../../hack/command.ts';
import type { Ledger } from './ledger.ts';
import { isAlive, markerVariable, type ProcessRef, processRef, sendSignal, waitGone } from './processes.ts';

/** How a part is started. Read anew at every start, so that settings may change between two. */
export interface PartCommand {
  readonly file: string;
  readonly args: readonly string[];
  /** Added to a small environment (PATH, HOME); the caller's own environment is not passed on. */
  readonly env?: Readonly<Record<string, string>>;
  /** What the command depends on without naming it: the content of its bundle or configuration file. */
  readonly inputs?: readonly string[];
}

export interface PartOptions {
  readonly name: string;
  readonly ledger: Ledger;
  /** Both outputs, appended; `accessLogFile` takes stdout when given. */
  readonly logFile: string;
  readonly accessLogFile?: string;
  readonly command: () => PartCommand;
  /** Resolves when the part answers; rejects (with why) when not yet. Called until it resolves. */
  readonly probe: () => Promise<void>;
  /** Done before each start: directories, remains of the last run. */
  readonly prepare?: () => Promise<void> | void;
}

/**
 * One process of an instance: started, stopped, killed, frozen and thawed by itself, and started again with the same settings.
 * It outlives this process; a Part made for the same ledger and name takes it over.
 */
export class Part {
  readonly name: string;
  readonly logFile: string;
  readonly accessLogFile: string | undefined;
  readonly #options: PartOptions;
  #environment: Readonly<Record<string, string>> = {};

  constructor(options: PartOptions) {
    this.name = options.name;
    this.logFile = options.logFile;
    this.accessLogFile = options.accessLogFile;
    this.#options = options;
  }

  /** The running process; undefined when the part is stopped. */
  get process(): ProcessRef | undefined {
    const record = this.#options.ledger.part(this.name);
    return isAlive(record) ? record : undefined;
  }

  /** @throws BerthError `PartNotRunning` when the part is stopped. */
  get pid(): number {
    return this.#running().pid;
  }

  get isRunning(): boolean {
    return this.process !== undefined;
  }

  /** Variables for every start from now on, besides those that the part has anyway. Replaces what an earlier call set. */
  setEnvironment(variables: Readonly<Record<string, string>>): void {
    this.#environment = variables;
  }

  /** Starts the process unless it runs, and waits until it answers. */
  async start(timeoutMs = 60_000): Promise<void> {
    if (!this.isRunning) await this.#spawn();
    await this.waitReady(timeoutMs);
  }

  /**
   * As `start`; a process is replaced that was started with other settings, another bundle or configuration than a start would use now,
   * and one that runs but does not answer.
   */
  async ensure(timeoutMs = 60_000): Promise<'kept' | 'started' | 'replaced'> {
    const record = this.#options.ledger.part(this.name);
    const running = isAlive(record);
    const current = running && record.fingerprint === fingerprint(this.#command());
    if (current && (await this.#answersWithin(15_000))) return 'kept';
    if (running) await this.stop(5_000);
    await this.start(timeoutMs);
    return running ? 'replaced' : 'started';
  }

  /** Starts the process without waiting until it answers. */
  async launch(): Promise<void> {
    if (!this.isRunning) await this.#spawn();
  }

  /** SIGTERM, then waits; SIGKILL after `graceMs`. Does nothing when the part is stopped. */
  async stop(graceMs = 15_000): Promise<void> {
    const target = this.process;
    if (target !== undefined) {
      sendSignal(target, 'SIGTERM');
      sendSignal(target, 'SIGCONT');
      if (!(await waitGone(target, graceMs))) await this.kill();
    }
    this.#options.ledger.setPart(this.name, undefined);
  }

  /** SIGKILL, then waits until the process is gone. */
  async kill(): Promise<void> {
    const target = this.process;
    if (target === undefined) return;
    sendSignal(target, 'SIGKILL');
    if (!(await waitGone(target, 30_000)))
      throw new BerthError('ProcessStuck', `${this.name} (process ${target.pid}) does not end after SIGKILL.`);
    this.#options.ledger.setPart(this.name, undefined);
  }

  /** Stop and start. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** SIGSTOP: the process keeps its connections and does nothing until `thaw`. */
  freeze(): void {
    sendSignal(this.#running(), 'SIGSTOP');
  }

  /** SIGCONT. */
  thaw(): void {
    sendSignal(this.#running(), 'SIGCONT');
  }

  /** Waits until the part answers. @throws BerthError `PartNotReady` with the end of its log when it ends or does not answer in time. */
  async waitReady(timeoutMs = 60_000): Promise<void> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      const why = await this.#options.probe().then(
        () => undefined,
        (error: unknown) => messageOf(error),
      );
      if (why === undefined) return;
      if (!this.isRunning) throw this.#notReady('ended while it was being started');
      if (performance.now() > end) throw this.#notReady(`did not answer within ${timeoutMs / 1000} s (${why})`);
      await delay(25);
    }
  }

  /** What the part has printed so far. */
  log(): string {
    return existsSync(this.logFile) ? readFileSync(this.logFile, 'utf8') : '';
  }

  async #spawn(): Promise<void> {
    await this.#options.prepare?.();
    const command = this.#command();
    mkdirSync(dirname(this.logFile), { recursive: true });
    const err = openSync(this.logFile, 'a');
    const out = this.accessLogFile === undefined ? err : openSync(this.accessLogFile, 'a');
    try {
      const pid = await spawnDetached(this.name, command, { out, err, marker: this.#options.ledger.content.stateDir });
      const started = processRef(pid);
      if (started !== undefined) this.#options.ledger.setPart(this.name, { ...started, fingerprint: fingerprint(command) });
    } finally {
      closeSync(err);
      if (out !== err) closeSync(out);
    }
  }

  #command(): PartCommand {
    const command = this.#options.command();
    return { ...command, env: { ...command.env, ...this.#environment } };
  }

  #answersWithin(ms: number): Promise<boolean> {
    return this.waitReady(ms).then(
      () => true,
      () => false,
    );
  }

  #running(): ProcessRef {
    const running = this.process;
    if (running === undefined) throw new BerthError('PartNotRunning', `${this.name} does not run; its log is ${this.logFile}.`);
    return running;
  }

  #notReady(what: string): BerthError {
    const summary = `${this.name} ${what}; its log is ${this.logFile}`;
    return new BerthError('PartNotReady', `${summary} and ends with:\n${lastLines(this.log(), 12)}`, { details: { summary } });
  }
}

interface Outputs {
  readonly out: number;
  readonly err: number;
  readonly marker: string;
}

function spawnDetached(name: string, command: PartCommand, { out, err, marker }: Outputs): Promise<number> {
  const env = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/root', [markerVariable]: marker, ...command.env };
  return new Promise((resolve, reject) => {
    const child = spawn(command.file, command.args, { detached: true, stdio: ['ignore', out, err], env, cwd: '/' });
    child.once('error', (cause) => reject(new BerthError('StartFailed', `${name} could not be started: ${cause.message}.`, { cause })));
    child.once('spawn', () => {
      child.unref();
      resolve(child.pid ?? 0);
    });
  });
}

function fingerprint(command: PartCommand): string {
  const inputs = (command.inputs ?? []).map((path) => (existsSync(path) ? readFileSync(path, 'utf8') : ''));
  return createHash('sha256')
    .update(JSON.stringify([command.file, command.args, command.env, inputs]))
    .digest('hex')
    .slice(0, 16);
}

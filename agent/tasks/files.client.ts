import { execFile } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, truncate, unlink, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '../../process/errors.ts';
import { TaskSpec } from '../proto/gen/berth/agent/v1/tasks.ts';
import type { Measures } from './runtime.ts';
import type { Exit, TaskEnding } from './verdict.ts';

/** How a task ended, noted before its process is removed. */
export interface ExitNote {
  readonly exit: Exit | undefined;
  readonly killedFor: TaskEnding['killedFor'];
  readonly sandboxEnded: boolean;
  readonly measures: Measures;
  readonly startMs: number;
}

export type Stream = 'stdout' | 'stderr';

/** The files of tasks: what each is to run, its input, its output and what is kept of it. */
export class TaskFiles {
  readonly directory: string;

  /** `directory` is absolute, and containerd sees it under the same path. */
  constructor(directory: string) {
    this.directory = directory;
  }

  async prepare(): Promise<void> {
    await mkdir(this.#uploads, { recursive: true, mode: 0o700 });
    await mkdir(this.#tasks, { recursive: true, mode: 0o700 });
  }

  of(id: string): FilesOfTask {
    return new FilesOfTask(join(this.#tasks, id));
  }

  upload(id: string): string {
    return join(this.#uploads, id);
  }

  async dropUpload(id: string): Promise<void> {
    await rm(this.upload(id), { force: true });
  }

  /** The tasks of which files are there. */
  async list(): Promise<readonly string[]> {
    return readdir(this.#tasks);
  }

  /** Nobody waits for what was uploaded to an agent before this one. */
  async forgetUploads(): Promise<void> {
    await rm(this.#uploads, { recursive: true, force: true });
    await mkdir(this.#uploads, { recursive: true, mode: 0o700 });
  }

  get #uploads(): string {
    return join(this.directory, 'uploads');
  }

  get #tasks(): string {
    return join(this.directory, 'tasks');
  }
}

/** The files of one task. */
export class FilesOfTask {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Puts down what is to be run, its input and where its output goes. What was uploaded is taken from there. */
  async create(spec: TaskSpec, uploadPath: (id: string) => string): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const inputs = [
      { path: this.#stdinFile, content: spec.stdin?.content },
      ...spec.inputFiles.map(({ content }, index) => ({ path: this.input(index), content: content?.content })),
    ];
    for (const [index, { path, content }] of inputs.entries()) {
      const { mode = 0 } = spec.inputFiles[index - 1] ?? {};
      if (content?.$case === 'uploadId') await rename(uploadPath(content.value), path).catch(unlessMissing);
      else if (content?.$case === 'inline' || index > 0) await writeFile(path, content?.value ?? '');
      if (index > 0) await chmodTo(path, mode === 0 ? 0o644 : mode);
    }
    if (spec.streamStdin) await this.#makeFifo();
    await Promise.all([
      writeFile(this.stream('stdout'), ''),
      writeFile(this.stream('stderr'), ''),
      writeFile(this.#specFile, TaskSpec.encode(spec).finish(), { mode: 0o600 }),
    ]);
  }

  /** Undefined when it is not there any more, or only a part of it. */
  async spec(): Promise<TaskSpec | undefined> {
    const bytes = await readFile(this.#specFile).catch(unlessMissing);
    return bytes === undefined ? undefined : TaskSpec.decode(bytes);
  }

  /** It has started: what may be secret goes. */
  async forgetSpec(): Promise<void> {
    await unlink(this.#specFile).catch(unlessMissing);
  }

  stream(name: Stream): string {
    return join(this.#directory, name);
  }

  /** The file of the nth input. */
  input(index: number): string {
    return join(this.#directory, `in-${index}`);
  }

  /** Where the nth output file is kept. */
  output(index: number): string {
    return join(this.#directory, `out-${index}`);
  }

  get fifo(): string {
    return join(this.#directory, 'stdin.fifo');
  }

  /** What the process reads: a FIFO when stdin is streamed, a file when it has any, else nothing. */
  async stdin(isStreamed: boolean): Promise<string> {
    if (isStreamed) return this.fifo;
    return (await this.#size(this.#stdinFile)) === undefined ? '' : this.#stdinFile;
  }

  /** What comes before the streamed stdin. */
  async stdinBegin(): Promise<Buffer> {
    return (await readFile(this.#stdinFile).catch(unlessMissing)) ?? Buffer.alloc(0);
  }

  async size(name: Stream): Promise<number> {
    return (await this.#size(this.stream(name))) ?? 0;
  }

  /** Cuts the output to the first `most` bytes, what was written to stdout first. */
  async cut(most: number): Promise<void> {
    const [out, err] = [await this.size('stdout'), await this.size('stderr')];
    if (out + err <= most) return;
    const keptOut = Math.max(Math.min(out, most - Math.min(err, Math.floor(most / 2))), 0);
    await truncate(this.stream('stdout'), Math.min(out, keptOut)).catch(unlessMissing);
    await truncate(this.stream('stderr'), Math.min(err, most - keptOut)).catch(unlessMissing);
  }

  async read(name: Stream): Promise<Buffer> {
    return (await readFile(this.stream(name)).catch(unlessMissing)) ?? Buffer.alloc(0);
  }

  /** Undefined when it is not there. The caller closes it. */
  openForReading(path: string): Promise<FileHandle | undefined> {
    return open(path, 'r').catch(unlessMissing);
  }

  /** Written at once, so that it is there before its process is removed, whenever this one dies. A power loss ends the task's process too. */
  noteExit(note: ExitNote): void {
    const file = openSync(this.#exitFile, 'w', 0o600);
    try {
      writeSync(file, JSON.stringify(note));
    } finally {
      closeSync(file);
    }
  }

  notedExit(): ExitNote | undefined {
    try {
      return JSON.parse(readFileSync(this.#exitFile, 'utf8')) as ExitNote;
    } catch {
      return undefined;
    }
  }

  /** Its result is durable: what only it needed goes, its output and the files of it that are kept stay. */
  async forgetInputs(): Promise<void> {
    const names = (await readdir(this.#directory).catch(unlessMissing)) ?? [];
    const needless = names.filter((name) => name !== 'stdout' && name !== 'stderr' && !name.startsWith('out-'));
    await Promise.all(needless.map((name) => unlink(join(this.#directory, name)).catch(unlessMissing)));
  }

  async remove(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #makeFifo(): Promise<void> {
    try {
      await promisify(execFile)('mkfifo', ['-m', '600', this.fifo]);
    } catch (error) {
      if ((await this.#size(this.fifo)) === undefined) throw new Error(`no FIFO could be made: ${messageOf(error)}`, { cause: error });
    }
  }

  async #size(path: string): Promise<number | undefined> {
    return (await stat(path).catch(unlessMissing))?.size;
  }

  get #specFile(): string {
    return join(this.#directory, 'spec');
  }

  get #stdinFile(): string {
    return join(this.#directory, 'stdin');
  }

  get #exitFile(): string {
    return join(this.#directory, 'exit');
  }
}

async function chmodTo(path: string, mode: number): Promise<void> {
  const file = await open(path, 'r').catch(unlessMissing);
  await file?.chmod(mode);
  await file?.close();
}

function unlessMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  return undefined;
}

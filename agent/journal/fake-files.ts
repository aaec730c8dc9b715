import type { JournalFile, JournalFiles } from './files.client.ts';

/** A file system in memory with so much room, for tests. */
export class FakeFiles implements JournalFiles {
  readonly files = new Map<string, Buffer>();
  /** In bytes, for all files together. */
  room: number;
  /** How often the disk was waited for. */
  syncs = 0;

  constructor(room: number) {
    this.room = room;
  }

  /** A file of somebody else that takes all the room that is left. */
  fill(path: string): void {
    this.files.set(path, Buffer.alloc(this.#left));
  }

  read(path: string): Promise<string> {
    return Promise.resolve(this.files.get(path)?.toString('utf8') ?? '');
  }

  open(path: string, how: 'Kept' | 'Emptied'): Promise<JournalFile> {
    const held = { path, content: how === 'Kept' ? (this.files.get(path) ?? Buffer.alloc(0)) : Buffer.alloc(0) };
    const put = (content: Buffer) => {
      held.content = content;
      for (const [name, file] of this.files) if (file === before) this.files.set(name, content);
      before = content;
    };
    let before = held.content;
    this.files.set(path, before);
    return Promise.resolve({
      write: (bytes, at) => {
        const fits = Math.max(0, Math.min(bytes.length, this.#left + Math.max(0, held.content.length - at)));
        put(Buffer.concat([held.content.subarray(0, at), bytes.subarray(0, fits)]));
        return fits < bytes.length ? Promise.reject(noRoom()) : Promise.resolve();
      },
      truncate: (length) => {
        put(held.content.subarray(0, length));
        return Promise.resolve();
      },
      sync: () => {
        this.syncs++;
        return Promise.resolve();
      },
      close: () => Promise.resolve(),
    });
  }

  replace(path: string, by: string): Promise<void> {
    this.files.set(path, this.files.get(by) ?? Buffer.alloc(0));
    return this.remove(by);
  }

  remove(path: string): Promise<void> {
    this.files.delete(path);
    return Promise.resolve();
  }

  size(path: string): Promise<number> {
    return Promise.resolve(this.files.get(path)?.length ?? 0);
  }

  free(): Promise<number> {
    return Promise.resolve(this.#left);
  }

  get #left(): number {
    return this.room - [...this.files.values()].reduce((sum, { length }) => sum + length, 0);
  }
}

function noRoom(): Error {
  return Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
}

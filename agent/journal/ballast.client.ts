import { randomBytes } from 'node:crypto';
import { isNoRoom, type JournalFiles } from './files.client.ts';

/**
 * Room that is set aside for when the disk is full: a file that is removed then. What frees room has to be recorded first, and a record
 * needs room itself.
 */
export class Ballast {
  readonly #files: JournalFiles;
  readonly #path: string;
  readonly #bytes: number;
  #isHeld = false;

  constructor(files: JournalFiles, path: string, bytes: number) {
    this.#files = files;
    this.#path = path;
    this.#bytes = bytes;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Takes what is there, or puts it there when the disk has room for it twice, so that it is not the last that fits. False: there is no room. */
  async restore(): Promise<boolean> {
    if (!this.#isHeld) this.#isHeld = (await this.#isThere()) || (await this.#isMade());
    return this.#isHeld;
  }

  /** Gives the room free. False when there is none left to give. */
  async release(): Promise<boolean> {
    const wasHeld = this.#isHeld || (await this.#files.size(this.#path)) > 0;
    this.#isHeld = false;
    await this.#files.remove(this.#path);
    return wasHeld;
  }

  async #isThere(): Promise<boolean> {
    return (await this.#files.size(this.#path)) >= this.#bytes;
  }

  async #isMade(): Promise<boolean> {
    if ((await this.#files.free(this.#path)) < 2 * this.#bytes) return false;
    try {
      const file = await this.#files.open(this.#path, 'Emptied');
      try {
        // Not zeros: a file system that compresses would keep no room for them.
        await file.write(randomBytes(this.#bytes), 0);
        await file.sync();
      } finally {
        await file.close();
      }
      return true;
    } catch (error) {
      await this.#files.remove(this.#path);
      if (isNoRoom(error)) return false;
      throw error;
    }
  }
}

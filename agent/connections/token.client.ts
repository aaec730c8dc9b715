import { readFile } from 'node:fs/promises';
import { sleep } from '../../process/clock.ts';
import type { Clock } from '../../process/clock.ts';
import { BerthError, messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';

/** The bearer token that the agent shows to operators. */
export interface TokenSource {
  /** Undefined: none is used. */
  current(): string | undefined;
  onChange(listener: (token: string) => void): void;
}

export const noToken: TokenSource = { current: () => undefined, onChange: () => undefined };

/** A token in a file that somebody (the kubelet) replaces before it expires. */
export class TokenFile implements TokenSource {
  readonly #path: string;
  readonly #listeners: ((token: string) => void)[] = [];
  #token: string;

  private constructor(path: string, token: string) {
    this.#path = path;
    this.#token = token;
  }

  /** @throws BerthError `TokenUnreadable` */
  static async open(path: string): Promise<TokenFile> {
    return new TokenFile(path, await readToken(path));
  }

  current(): string {
    return this.#token;
  }

  onChange(listener: (token: string) => void): void {
    this.#listeners.push(listener);
  }

  /** Looks at the file until the signal is aborted. A token that cannot be read is logged, and the old one stays in use. */
  async run(clock: Clock, log: Logger, signal: AbortSignal, intervalMs = 10_000): Promise<void> {
    for (;;) {
      const isOver = await sleep(clock, intervalMs, signal).then(
        () => false,
        () => true,
      );
      if (isOver) return;
      await this.#reload().catch((err: unknown) => log.error({ err }, 'The token was not read again, the old one stays in use'));
    }
  }

  async #reload(): Promise<void> {
    const token = await readToken(this.#path);
    if (token === this.#token) return;
    this.#token = token;
    for (const listener of this.#listeners) listener(token);
  }
}

async function readToken(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new BerthError('TokenUnreadable', `The token file ${path} cannot be read: ${messageOf(cause)}.`, { cause });
  });
  if (text.trim() === '') throw new BerthError('TokenUnreadable', `The token file ${path} is empty.`);
  return text.trim();
}

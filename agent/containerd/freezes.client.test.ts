import { describe, expect, it } from '@jest/globals';
import { setImmediate as turn } from 'node:timers/promises';
import { Freezes } from './freezes.client.ts';

/** Work that lasts until it is let go, and what happened in its sequence. */
class Stage {
  readonly freezes = new Freezes();
  readonly happened: string[] = [];
  readonly #ends = new Map<string, () => void>();
  readonly never = new AbortController().signal;

  begin(how: 'entering' | 'frozen', name: string, signal = this.never): Promise<void> {
    return this.freezes[how]('c1', signal, () => {
      this.happened.push(`${name} begins`);
      return new Promise<void>((resolve) => this.#ends.set(name, resolve));
    });
  }

  async end(name: string): Promise<void> {
    this.#ends.get(name)?.();
    await turn();
  }
}

describe('pauses and processes that begin', () => {
  it('wait for each other', async () => {
    const stage = new Stage();
    void stage.begin('entering', 'exec 1');
    void stage.begin('entering', 'exec 2');
    void stage.begin('frozen', 'backup');
    void stage.begin('entering', 'exec 3');
    await turn();
    expect(stage.happened).toEqual(['exec 1 begins', 'exec 2 begins']);
    await stage.end('exec 1');
    expect(stage.happened).toHaveLength(2);
    await stage.end('exec 2');
    expect(stage.happened.slice(2)).toEqual(['backup begins']);
    expect(stage.freezes.isFrozen('c1')).toBe(true);
    await stage.end('backup');
    expect(stage.happened.slice(3)).toEqual(['exec 3 begins']);
    expect(stage.freezes.isFrozen('c1')).toBe(false);
  });

  it.each(['entering', 'frozen'] as const)('end the waiting of %s when it is not wanted any more', async (how) => {
    const stage = new Stage();
    const abort = new AbortController();
    void stage.begin('frozen', 'backup');
    const waiting = stage.begin(how, 'late', abort.signal);
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await stage.end('backup');
    expect(stage.happened).toEqual(['backup begins']);
    void stage.begin('entering', 'exec');
    await turn();
    expect(stage.happened).toEqual(['backup begins', 'exec begins']);
  });

  it('does not hold other containers up', async () => {
    const stage = new Stage();
    void stage.begin('frozen', 'backup');
    await expect(stage.freezes.entering('c2', stage.never, () => Promise.resolve('ran'))).resolves.toBe('ran');
  });
});

import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from '@jest/globals';
import { KeyedLock, Semaphore } from './limits.client.ts';

const never = new AbortController().signal;

/** Work that ends when told to, and a record of what has begun. */
function workshop() {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const work = (name: string) => () => {
    begun.push(name);
    return new Promise<string>((resolve) => ends.set(name, () => resolve(name)));
  };
  return { begun, work, end: (name: string) => ends.get(name)?.() };
}

describe('Semaphore', () => {
  it('lets in as many as it says, in order', async () => {
    const { begun, work, end } = workshop();
    const semaphore = new Semaphore(2);
    const all = ['a', 'b', 'c', 'd'].map((name) => semaphore.run(never, work(name)));
    await turn();
    expect(begun).toEqual(['a', 'b']);
    end('b');
    await all[1];
    await turn();
    expect(begun).toEqual(['a', 'b', 'c']);
    for (const name of ['a', 'c']) end(name);
    await Promise.all([all[0], all[2]]);
    end('d');
    await expect(Promise.all(all)).resolves.toEqual(['a', 'b', 'c', 'd']);
  });

  it('makes room when work fails', async () => {
    const semaphore = new Semaphore(1);
    await expect(semaphore.run(never, () => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
    await expect(semaphore.run(never, () => Promise.resolve('next'))).resolves.toBe('next');
  });

  it('forgets who gives up waiting', async () => {
    const { begun, work, end } = workshop();
    const semaphore = new Semaphore(1);
    const controller = new AbortController();
    const first = semaphore.run(never, work('first'));
    const impatient = semaphore.run(controller.signal, work('impatient'));
    const patient = semaphore.run(never, work('patient'));
    controller.abort(new Error('gave up'));
    await expect(impatient).rejects.toThrow('gave up');
    end('first');
    await first;
    await turn();
    expect(begun).toEqual(['first', 'patient']);
    end('patient');
    await patient;
    await expect(semaphore.run(controller.signal, work('late'))).rejects.toThrow('gave up');
  });
});

it('KeyedLock lets one in for each key', async () => {
  const { begun, work, end } = workshop();
  const lock = new KeyedLock();
  const all = [lock.run('x', never, work('x1')), lock.run('x', never, work('x2')), lock.run('y', never, work('y1'))];
  await turn();
  expect(begun).toEqual(['x1', 'y1']);
  end('x1');
  await all[0];
  await turn();
  expect(begun).toEqual(['x1', 'y1', 'x2']);
  end('x2');
  end('y1');
  await Promise.all(all);
});

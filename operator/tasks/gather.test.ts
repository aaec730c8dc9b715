import { describe, expect, it } from '@jest/globals';
import type { Sandbox } from '../../crds/index.ts';
import { aSandbox } from '../../test/builders/a-sandbox.ts';
import { runningSandbox } from './gather.ts';

const ref = { namespace: 'default', name: 'box' };
const started = aSandbox().onRunner('r1').started().obj();
const running = { uid: 'uid-box', contentVersion: 1, runnerName: 'r1' };

describe('a sandbox that a task is for', () => {
  /** What comes of it, and how often the API server was asked. */
  async function find(known: Sandbox | undefined, current: () => Promise<Sandbox | undefined>) {
    let asked = 0;
    const read = () => {
      asked += 1;
      return current();
    };
    const found = await runningSandbox(known, ref, read).catch((error: unknown) => (error as { readonly code: string }).code);
    return { found, asked };
  }
  const away = () => Promise.reject(new Error('the API server does not answer'));

  it('is taken as this pod knows it when it runs', async () => {
    expect(await find(started, away)).toEqual({ found: running, asked: 0 });
  });

  it.each([
    { what: 'has not heard of', known: undefined },
    { what: 'knows as starting', known: aSandbox().onRunner('r1').starting().obj() },
    { what: 'knows as stopped', known: aSandbox().onRunner('r1').stopped().obj() },
  ])('that was just started and that this pod $what is not refused', async ({ known }) => {
    expect(await find(known, () => Promise.resolve(started))).toEqual({ found: running, asked: 1 });
  });

  it.each([
    { what: 'is not there', current: undefined, code: 'SandboxNotFound' },
    { what: 'is stopped', current: aSandbox().onRunner('r1').stopped().obj(), code: 'SandboxNotRunning' },
    { what: 'is being deleted', current: aSandbox().onRunner('r1').started().deleting().obj(), code: 'SandboxNotRunning' },
    { what: 'has no runner', current: aSandbox().status({ state: 'Started' }).obj(), code: 'SandboxNotRunning' },
  ])('that $what is refused', async ({ current, code }) => {
    expect(await find(undefined, () => Promise.resolve(current))).toEqual({ found: code, asked: 1 });
  });

  it('is what this pod knows when the API server does not answer', async () => {
    expect(await find(aSandbox().onRunner('r1').stopped().obj(), away)).toEqual({ found: 'SandboxNotRunning', asked: 1 });
    expect(await find(undefined, away)).toEqual({ found: 'SandboxNotFound', asked: 1 });
  });
});

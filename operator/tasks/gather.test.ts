import { describe, expect, it } from '@jest/globals';
import type { Sandbox } from '../../crds/index.ts';
import { aSandbox } from '../../test/builders/a-sandbox.ts';
import { KubeError } from '../../kube/errors.ts';
import type { KubeObject } from '../../kube/types.ts';
import { ApiError } from '../http/errors.ts';
import { runningSandbox } from './gather.ts';
import { SandboxReads } from './sandbox-reads.client.ts';

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
  const away = () => Promise.reject(new ApiError('SandboxUnavailable'));

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

  it('is not refused out of ignorance when the API server does not answer', async () => {
    expect(await find(aSandbox().onRunner('r1').stopped().obj(), away)).toEqual({ found: 'SandboxUnavailable', asked: 1 });
    expect(await find(undefined, away)).toEqual({ found: 'SandboxUnavailable', asked: 1 });
  });
});

describe('sandboxes read for callers', () => {
  /** An API server that answers when it is let. */
  const anApiServer = () => {
    const answers: PromiseWithResolvers<KubeObject>[] = [];
    const get = () => {
      const answer = Promise.withResolvers<KubeObject>();
      answers.push(answer);
      return answer.promise;
    };
    return { answers, reads: new SandboxReads({ get }) };
  };
  const codeOf = (read: Promise<unknown>) => read.catch((error: unknown) => (error as { readonly code: string }).code);

  it('are those that the API server has, or none', async () => {
    const { answers, reads } = anApiServer();
    const [there, gone] = [reads.read(ref), reads.read(ref)];
    answers[0]?.resolve(started);
    answers[1]?.reject(new KubeError('NotFound', 'not found'));
    expect([(await there)?.metadata.uid, await gone]).toEqual(['uid-box', undefined]);
  });

  it('are not to be had when the API server does not answer, nor when too many wait', async () => {
    const { answers, reads } = anApiServer();
    const waiting = Array.from({ length: 16 }, (_, index) => codeOf(reads.read({ ...ref, name: `box-${index}` })));
    expect(await codeOf(reads.read(ref))).toBe('SandboxUnavailable');
    for (const answer of answers) answer.reject(new KubeError('Unreachable', 'it does not answer'));
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['SandboxUnavailable']));
    const again = codeOf(reads.read(ref));
    expect(answers).toHaveLength(17);
    answers[16]?.reject(new KubeError('Unreachable', 'it does not answer'));
    await again;
  });
});

import { describe, expect, it } from '@jest/globals';
import type { Reviews } from '../../kube/reviews.ts';
import { reviewedCallers } from './callers.client.ts';

const user = { username: 'ann', groups: [], extra: {} };
const permission = { verb: 'create', subresource: 'tasks' } as const;
const reviews: Reviews = {
  authenticate: (token, audiences) =>
    Promise.resolve(
      token === 'good' && audiences.includes('berth')
        ? { kind: 'authenticated', user, audiences }
        : { kind: 'refused', reason: 'it is unknown' },
    ),
  authorize: (_, { verb, group, resource, subresource, namespace, name }) =>
    Promise.resolve(
      namespace === 'hers' ? { kind: 'allowed' } : { kind: 'denied', reason: [verb, group, resource, subresource, namespace, name].join() },
    ),
};
const callers = reviewedCallers({ reviews, audience: 'berth' });
const broken = reviewedCallers({
  reviews: { authenticate: () => Promise.reject(new Error('no answer')), authorize: () => Promise.reject(new Error('no answer')) },
  audience: 'berth',
});

describe('callers', () => {
  it.each(['Bearer good', 'bearer  good'])('are who their token belongs to: %p', async (header) => {
    expect(await callers.identify(header)).toEqual({ username: 'ann', user });
  });
  it.each([undefined, '', 'Bearer', 'Basic good', 'Bearer bad', 'Bearer good good'])('are refused with 401: %p', async (header) => {
    await expect(callers.identify(header)).rejects.toMatchObject({ code: 'Unauthenticated', status: 401 });
  });
  it('may do what the API server says', async () => {
    const caller = { username: 'ann', user };
    await expect(callers.authorize(caller, permission, { namespace: 'hers' })).resolves.toBeUndefined();
    await expect(callers.authorize(caller, permission, { namespace: 'other', name: 'box' })).rejects.toMatchObject({
      status: 403,
      message: 'ann may not create sandboxes/tasks.berth.dev of box in the namespace other.',
      details: { verb: 'create', resource: 'sandboxes/tasks', group: 'berth.dev', namespace: 'other', name: 'box' },
    });
    await expect(callers.authorize(caller, permission, {})).rejects.toMatchObject({
      message: 'ann may not create sandboxes/tasks.berth.dev in all namespaces.',
    });
  });
  it('wait for a while when nobody can say who they are', async () => {
    const unknown = { code: 'AuthUnavailable', status: 503, retryAfter: 2 };
    await expect(broken.identify('Bearer good')).rejects.toMatchObject(unknown);
    await expect(broken.authorize({ username: 'ann', user }, permission, {})).rejects.toMatchObject(unknown);
  });
  it('do not all ask at once', async () => {
    let asked = 0;
    const slow: Reviews = { ...reviews, authenticate: () => ((asked += 1), new Promise(() => undefined)) };
    const flooded = reviewedCallers({ reviews: slow, audience: 'berth' });
    const last = Array.from({ length: 257 }, (_, number) => flooded.identify(`Bearer ${number}`)).at(-1);
    await expect(last).rejects.toMatchObject({ code: 'AuthUnavailable' });
    expect(asked).toBe(256);
  });
});

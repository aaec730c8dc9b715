import { describe, expect, it } from '@jest/globals';
import { FakeClock } from '../process/fake-clock.ts';
import { KubeError } from './errors.ts';
import { FakeApi } from './fake-api.ts';
import { createReviews } from './reviews.ts';
import { TtlCache } from './ttl-cache.ts';

const user = {
  username: 'system:serviceaccount:ns:agent',
  uid: 'u',
  groups: ['g'],
  extra: { 'authentication.kubernetes.io/node-name': ['n1'] },
};
const attributes = { verb: 'create', group: 'berth.dev', resource: 'sandboxes', subresource: 'exec', namespace: 'ns', name: 'a' };

function setUp(status: object) {
  const api = new FakeApi();
  const clock = new FakeClock();
  api.answer = () => ({ status });
  return {
    api,
    clock,
    reviews: createReviews({ transport: api, clock, authenticatedMs: 10_000, allowedMs: 20_000, refusedMs: 2_000, size: 2 }),
  };
}

describe('token review', () => {
  it.each([
    {
      when: 'the token is valid for the audience',
      status: { authenticated: true, user, audiences: ['berth-operator'] },
      want: { kind: 'authenticated', user, audiences: ['berth-operator'] },
    },
    {
      when: 'the user has no groups and nothing extra',
      status: { authenticated: true, user: { username: 'x' }, audiences: ['berth-operator'] },
      want: { kind: 'authenticated', user: { username: 'x', groups: [], extra: {} }, audiences: ['berth-operator'] },
    },
    {
      when: 'the token is not valid',
      status: { error: 'invalid bearer token' },
      want: { kind: 'refused', reason: 'invalid bearer token' },
    },
    { when: 'the server says nothing', status: {}, want: { kind: 'refused', reason: 'the token is not valid' } },
    {
      when: 'the user has no name',
      status: { authenticated: true, user: { username: '' } },
      want: { kind: 'refused', reason: 'the token is not valid' },
    },
    {
      when: 'the server did not check the audience',
      status: { authenticated: true, user },
      want: { kind: 'refused', reason: 'the token is not for berth-operator' },
    },
  ])('$want.kind when $when', async ({ status, want }) => {
    const { api, reviews } = setUp(status);
    expect(await reviews.authenticate('t', ['berth-operator'])).toEqual(want);
    expect(api.requests).toMatchObject([
      {
        resource: '/apis/authentication.k8s.io/v1/tokenreviews',
        what: { kind: 'TokenReview', spec: { token: 't', audiences: ['berth-operator'] } },
      },
    ]);
  });

  it.each([
    { when: 'valid', status: { authenticated: true, user, audiences: ['x'] }, believedMs: 10_000 },
    { when: 'refused', status: { error: 'no' }, believedMs: 2_000 },
  ])('is believed for $believedMs ms when $when', async ({ status, believedMs }) => {
    const { api, clock, reviews } = setUp(status);
    const ask = () => reviews.authenticate('t', ['x']);
    await ask();
    clock.advance(believedMs - 1);
    await ask();
    expect(api.requests).toHaveLength(1);
    clock.advance(1);
    await ask();
    expect(api.requests).toHaveLength(2);
  });

  it('keeps tokens and audiences apart', async () => {
    const { api, reviews } = setUp({ authenticated: true, user, audiences: ['x', 'y'] });
    await reviews.authenticate('t', ['x']);
    await reviews.authenticate('t', ['y']);
    await reviews.authenticate('s', ['x']);
    expect(api.requests).toHaveLength(3);
  });

  it('asks once for what is asked at the same time, and believes no failure', async () => {
    const { api, reviews } = setUp({ authenticated: true, user, audiences: ['x'] });
    api.intercept = () => {
      api.intercept = () => undefined;
      throw new KubeError('Unreachable', 'no');
    };
    const asked = await Promise.allSettled([reviews.authenticate('t', ['x']), reviews.authenticate('t', ['x'])]);
    expect(asked.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(await reviews.authenticate('t', ['x'])).toMatchObject({ kind: 'authenticated' });
    expect(api.requests).toHaveLength(2);
  });

  it('calls an answer without a status malformed', async () => {
    const { api, reviews } = setUp({});
    api.answer = () => ({});
    await expect(reviews.authenticate('t', ['x'])).rejects.toMatchObject({ code: 'Malformed' });
  });
});

describe('access review', () => {
  it.each([
    { when: 'it is allowed', status: { allowed: true, reason: 'RBAC' }, want: { kind: 'allowed' } },
    { when: 'it is not', status: { allowed: false, reason: 'no rule' }, want: { kind: 'denied', reason: 'no rule' } },
    { when: 'the server could not decide', status: { evaluationError: 'webhook down' }, want: { kind: 'denied', reason: 'webhook down' } },
  ])('$want.kind when $when', async ({ status, want }) => {
    const { api, reviews } = setUp(status);
    expect(await reviews.authorize(user, attributes)).toEqual(want);
    expect(await reviews.authorize(user, { ...attributes })).toEqual(want);
    expect(api.requests).toMatchObject([
      {
        resource: '/apis/authorization.k8s.io/v1/subjectaccessreviews',
        what: { spec: { user: user.username, uid: 'u', groups: ['g'], extra: user.extra, resourceAttributes: attributes } },
      },
    ]);
  });
});

describe('answers that are remembered', () => {
  it('are bounded in number: the oldest go first', () => {
    const cache = new TtlCache<number>(new FakeClock(), 2);
    cache.set('a', 1, 100);
    cache.set('b', 2, 100);
    cache.set('a', 3, 100);
    cache.set('c', 4, 100);
    expect([cache.get('a'), cache.get('b'), cache.get('c'), cache.size]).toEqual([3, undefined, 4, 2]);
    cache.delete('a');
    expect(cache.size).toBe(1);
  });
});

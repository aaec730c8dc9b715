import { describe, expect, it } from '@jest/globals';
import type { Authentication } from '../../kube/reviews.ts';
import { peerAuthenticator, tokenAuthenticator } from './token-review.client.ts';

const jwt = (claims: object) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;
const agent = {
  username: 'system:serviceaccount:berth:berth-agent',
  groups: [],
  extra: { 'authentication.kubernetes.io/node-name': ['n1'] },
};

function authenticate(answer: Authentication, token: string | undefined = jwt({ exp: 1_000 }), of = tokenAuthenticator) {
  const asked: unknown[] = [];
  const reviews = {
    authenticate: (shown: string, audiences: readonly string[]) => {
      asked.push([shown, audiences]);
      return Promise.resolve(answer);
    },
    authorize: () => Promise.reject(new Error('not asked')),
  };
  return { asked, result: of({ reviews, audience: 'berth-operator', namespace: 'berth' }).authenticate(token) };
}

describe('who an agent is', () => {
  it('the node of its token, until the token expires', async () => {
    const { asked, result } = authenticate({ kind: 'authenticated', user: agent, audiences: ['berth-operator'] });
    expect(await result).toEqual({ kind: 'Authenticated', identity: { nodeName: 'n1', expiresAt: 1_000_000 } });
    expect(asked).toEqual([[jwt({ exp: 1_000 }), ['berth-operator']]]);
  });

  it.each([
    { when: 'the API server refuses the token', answer: { kind: 'refused' as const, reason: 'expired' }, code: 'Unauthenticated' },
    {
      when: 'it is of another account',
      answer: { kind: 'authenticated' as const, user: { ...agent, username: 'x' }, audiences: [] },
      code: 'PermissionDenied',
    },
    {
      when: 'it is not bound to a node',
      answer: { kind: 'authenticated' as const, user: { ...agent, extra: {} }, audiences: [] },
      code: 'PermissionDenied',
    },
  ])('is refused when $when', async ({ answer, code }) => {
    expect(await authenticate(answer).result).toMatchObject({ kind: 'Refused', code });
  });

  it('is not asked of the API server without a token', async () => {
    const { asked, result } = authenticate({ kind: 'refused', reason: '' }, '');
    expect([await result, asked]).toMatchObject([{ kind: 'Refused', code: 'Unauthenticated' }, []]);
  });
});

describe('who another operator pod is', () => {
  const operator = { username: 'system:serviceaccount:berth:berth-operator', groups: [], extra: {} };
  const token = jwt({ exp: 1_000 });

  it('the ServiceAccount of the operator, until the token expires', async () => {
    const { asked, result } = authenticate({ kind: 'authenticated', user: operator, audiences: [] }, token, peerAuthenticator);
    expect(await result).toEqual({ kind: 'Authenticated', identity: { nodeName: undefined, expiresAt: 1_000_000 } });
    expect(asked).toEqual([[token, ['berth-operator']]]);
  });

  it.each([
    { when: 'it is an agent', answer: { kind: 'authenticated' as const, user: agent, audiences: [] }, code: 'PermissionDenied' },
    { when: 'the API server refuses the token', answer: { kind: 'refused' as const, reason: 'expired' }, code: 'Unauthenticated' },
  ])('is refused when $when', async ({ answer, code }) => {
    expect(await authenticate(answer, token, peerAuthenticator).result).toMatchObject({ kind: 'Refused', code });
  });
});

import type { Reviews, UserInfo } from '../../kube/reviews.ts';
import { expiryOf } from './token.ts';
import type { AgentAuthenticator, Authentication } from './stream.ts';

const nodeClaim = 'authentication.kubernetes.io/node-name';

export interface TokenAuthenticatorOptions {
  readonly reviews: Reviews;
  /** The audience that tokens must have. */
  readonly audience: string;
  /** Namespace of the ServiceAccounts `berth-agent` and `berth-operator`. */
  readonly namespace: string;
}

/** Agents show a token of their ServiceAccount that is bound to their node and meant for the operator. */
export function tokenAuthenticator({ reviews, audience, namespace }: TokenAuthenticatorOptions): AgentAuthenticator {
  const expected = `system:serviceaccount:${namespace}:berth-agent`;
  return {
    authenticate: async (token) => {
      const review = await reviewOf(reviews, audience, token);
      if (review.kind === 'Refused') return review;
      const { username, extra } = review.user;
      if (username !== expected) return refused('PermissionDenied', `The token belongs to ${username}; agents are ${expected}.`);
      const [nodeName] = extra[nodeClaim] ?? [];
      if (nodeName === undefined) return refused('PermissionDenied', 'The token is not bound to a node.');
      return { kind: 'Authenticated', identity: { nodeName, expiresAt: review.expiresAt } };
    },
  };
}

/** Other operator pods show a token of the operator's ServiceAccount. */
export function peerAuthenticator({ reviews, audience, namespace }: TokenAuthenticatorOptions): AgentAuthenticator {
  const expected = `system:serviceaccount:${namespace}:berth-operator`;
  return {
    authenticate: async (token) => {
      const review = await reviewOf(reviews, audience, token);
      if (review.kind === 'Refused') return review;
      const { username } = review.user;
      if (username !== expected) return refused('PermissionDenied', `The token belongs to ${username}; operator pods are ${expected}.`);
      return { kind: 'Authenticated', identity: { nodeName: undefined, expiresAt: review.expiresAt } };
    },
  };
}

async function reviewOf(reviews: Reviews, audience: string, token: string | undefined): Promise<Refused | Reviewed> {
  if (token === undefined || token === '') return refused('Unauthenticated', 'The stream has no bearer token.');
  const answer = await reviews.authenticate(token, [audience]);
  if (answer.kind === 'refused') return refused('Unauthenticated', `The token is not valid for ${audience}: ${answer.reason}.`);
  return { kind: 'Reviewed', user: answer.user, expiresAt: expiryOf(token) };
}

type Refused = Authentication & { readonly kind: 'Refused' };
interface Reviewed {
  readonly kind: 'Reviewed';
  readonly user: UserInfo;
  readonly expiresAt: number | undefined;
}

/** Believes everybody: only for a hub that listens on the loopback interface without TLS. */
export const noAuthentication: AgentAuthenticator = {
  authenticate: () => Promise.resolve({ kind: 'Authenticated', identity: { nodeName: undefined, expiresAt: undefined } }),
};

function refused(code: 'Unauthenticated' | 'PermissionDenied', message: string): Refused {
  return { kind: 'Refused', code, message };
}

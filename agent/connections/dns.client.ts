import { lookup, Resolver as DnsResolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { BerthError, messageOf } from '../../process/errors.ts';
import { answerOf, failureOf, type Asked, type DnsAnswer } from './dns-answer.ts';

/** Says which addresses a name has: a port. DNS in production, scripted in tests. */
export interface Resolver {
  /** Never rejects: what goes wrong is an answer, too. */
  resolve(name: string): Promise<DnsAnswer>;
}

/** How long one server is waited for, and how often each is asked. */
const patience = { timeout: 2_000, tries: 2 };

/**
 * Asks these servers (ip:port) for A and AAAA. Names are taken as they are: the search path of the machine does not apply.
 * @throws BerthError `ResolverInvalid`
 */
export function dnsResolver(servers: readonly string[]): Resolver {
  try {
    new DnsResolver().setServers(servers);
  } catch (cause) {
    throw new BerthError('ResolverInvalid', `"${servers.join(',')}" are no DNS servers: write ip:port (BERTH_OPERATOR_RESOLVERS).`, {
      cause,
    });
  }
  return {
    resolve: async (name) => {
      // One for each question, so that a server that was away is asked afresh.
      const resolver = new DnsResolver(patience);
      resolver.setServers(servers);
      return answerOf(await Promise.all([asked(resolver.resolve4(name)), asked(resolver.resolve6(name))]));
    },
  };
}

/** Asks as every program of the machine does: its hosts file, its servers, its search path. */
export const systemResolver: Resolver = {
  resolve: async (name) =>
    answerOf([await asked(lookup(name, { all: true, order: 'verbatim' }).then((found) => found.map(({ address }) => address)))]),
};

async function asked(question: Promise<readonly string[]>): Promise<Asked> {
  try {
    const addresses = (await question).filter((address) => isIP(address) !== 0);
    return addresses.length > 0 ? { kind: 'Addresses', addresses } : { kind: 'None', why: 'an empty answer' };
  } catch (error) {
    const { code } = error as { readonly code?: string };
    return failureOf(code ?? '', messageOf(error));
  }
}

import { join } from 'node:path';
import { choosePort, type Foundation } from './foundation.ts';
import { ensureNode, issueToken, operatorAudience, systemNamespace, writeSecretFile } from './identity.ts';
import { kubeconfig } from './kubeconfig.ts';
import { bundlesOf } from './manifests.ts';
import { Operator } from './operator.ts';
import { openPodAddress, operatorName, operatorService, podAddress } from './pod-network.ts';
import { Runner } from './runner.ts';

/** The name that agents verify in an operator's certificate. */
const operatorServerName = `berth-operator.${systemNamespace}.svc`;

/** Where the operator with that number listens. Settings name all on this machine by their ports; pods in DNS share one port. */
async function placeOf(foundation: Foundation, name: string, number: number): Promise<{ readonly host: string; readonly port: number }> {
  const { settings, tools } = foundation;
  if (!settings.dns) return { host: '127.0.0.1', port: await choosePort(foundation, name) };
  await openPodAddress(tools.ip, settings.instance, number);
  return { host: podAddress(settings.instance, number), port: await operatorPort(foundation) };
}

/** The port that all operators have where DNS names them. */
export async function operatorPort(foundation: Foundation): Promise<number> {
  return choosePort(foundation, 'operators');
}

/** How an operator knows the others. */
function peersOf({ settings }: Foundation, name: string, operators: readonly Operator[]): Readonly<Record<string, string>> {
  if (settings.dns) return { BERTH_PEER_SERVICE: operatorService };
  const others = operators.filter((other) => other.name !== name);
  return { BERTH_PEERS: others.map(({ address }) => address).join(',') };
}

/** An operator with its certificate and credentials; not started. The API server must run. `operators` says, at each start of it, who the others are. */
export async function makeOperator(foundation: Foundation, number: number, operators: () => readonly Operator[]): Promise<Operator> {
  const name = `operator-${number}`;
  const { ledger, authority, settings, plane } = foundation;
  const directory = join(ledger.content.dataDir, 'operators', name);
  const [file, peerToken] = [join(directory, 'kubeconfig'), join(directory, 'peer.token')];
  const { cert, key } = await authority.issue('operator', 'berth-operator', [
    operatorServerName,
    'berth-operator',
    'localhost',
    '127.0.0.1',
  ]);
  const token = await issueToken(plane.api, { serviceAccount: 'berth-operator', expirationSeconds: settings.tokenSeconds });
  await writeKubeconfig(foundation, file, token);
  const request = { serviceAccount: 'berth-operator', audience: operatorAudience, expirationSeconds: settings.tokenSeconds };
  await writeSecretFile(peerToken, await issueToken(plane.api, request));
  return new Operator({
    name,
    ledger,
    bundle: bundlesOf(settings).operator,
    ...(await placeOf(foundation, name, number)),
    healthPort: await choosePort(foundation, `${name}.health`, name),
    scheme: settings.unsafe ? 'http' : 'https',
    env: () => ({
      BERTH_KUBECONFIG: file,
      BERTH_NAMESPACE: systemNamespace,
      BERTH_LOG_LEVEL: 'debug',
      ...peersOf(foundation, name, operators()),
      ...(settings.unsafe
        ? { BERTH_AUTH: 'none', BERTH_UNSAFE_LISTEN: 'true' }
        : {
            BERTH_TLS_CERT: cert,
            BERTH_TLS_KEY: key,
            BERTH_PEER_CA: authority.caFile,
            BERTH_PEER_SERVER_NAME: operatorServerName,
            BERTH_PEER_TOKEN_FILE: peerToken,
          }),
      ...backupEnv(foundation),
      ...settings.operatorEnv,
    }),
  });
}

function backupEnv({ settings: { backups }, registry }: Foundation): Readonly<Record<string, string>> {
  if (backups === false) return {};
  return { BERTH_BACKUP_REPOSITORY: backups === true ? `${registry.address}/backups` : backups };
}

/** A runner with its Node object and its agent's credentials; not started. `operators` says, at each start of the agent, whom it dials. */
export async function makeRunner(foundation: Foundation, name: string, operators: () => readonly Operator[]): Promise<Runner> {
  const { ledger, tools, plane } = foundation;
  await ensureNode(plane.api, name);
  await renewAgentTokens(foundation, name);
  return new Runner({
    name,
    ledger,
    tools,
    agentHealthPort: await choosePort(foundation, `${name}.agent`),
    hasNetwork: foundation.settings.networks,
    diskBytes: foundation.settings.diskBytes,
    agent: () => ({ bundle: bundlesOf(foundation.settings).agent, env: agentEnv(foundation, name, operators()) }),
  });
}

/** Issues new node-bound tokens to a runner's agent: one for the API server, one for operators. Both files are replaced at once. */
export async function renewAgentTokens(foundation: Foundation, name: string): Promise<void> {
  const { api } = foundation.plane;
  const request = { serviceAccount: 'berth-agent', node: name, expirationSeconds: foundation.settings.tokenSeconds };
  const directory = agentDirectory(foundation, name);
  await writeKubeconfig(foundation, join(directory, 'kubeconfig'), await issueToken(api, request));
  await writeSecretFile(join(directory, 'operator.token'), await issueToken(api, { ...request, audience: operatorAudience }));
}

/** How an agent knows the operators. */
function operatorsOf({ ledger, dns }: Foundation, operators: readonly Operator[]): Readonly<Record<string, string>> {
  if (dns === undefined) return { BERTH_OPERATORS: operators.map(({ address }) => address).join(',') };
  return { BERTH_OPERATORS: `${operatorName}:${ledger.content.ports.operators ?? 0}`, BERTH_OPERATOR_RESOLVERS: dns.address };
}

function agentEnv(foundation: Foundation, name: string, operators: readonly Operator[]): Readonly<Record<string, string>> {
  const directory = agentDirectory(foundation, name);
  return {
    BERTH_KUBECONFIG: join(directory, 'kubeconfig'),
    BERTH_NODE_NAME: name,
    BERTH_NAMESPACE: systemNamespace,
    ...operatorsOf(foundation, operators),
    ...(foundation.settings.unsafe
      ? { BERTH_UNSAFE_OPERATORS: 'true' }
      : {
          BERTH_OPERATOR_CA: foundation.authority.caFile,
          BERTH_OPERATOR_SERVER_NAME: operatorServerName,
          BERTH_OPERATOR_TOKEN_FILE: join(directory, 'operator.token'),
        }),
    BERTH_INSTALL_ID: foundation.installID,
    BERTH_PLAIN_HTTP_REGISTRIES: foundation.registry.address,
    BERTH_LOG_LEVEL: 'debug',
    ...foundation.settings.agentEnv,
  };
}

function agentDirectory({ ledger }: Foundation, name: string): string {
  return join(ledger.content.dataDir, 'runners', name, 'credentials');
}

async function writeKubeconfig({ plane, authority }: Foundation, path: string, token: string): Promise<void> {
  await writeSecretFile(path, kubeconfig({ name: 'berth', server: plane.api.server, caFile: authority.caFile, token }));
}

import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { BerthError } from '../../process/errors.ts';
import { KubeApi } from './kube-api.ts';
import { kubeconfig } from './kubeconfig.ts';
import type { Ledger } from './ledger.ts';
import { Part } from './part.ts';
import type { Authority } from './pki.ts';

export interface ControlPlaneOptions {
  readonly ledger: Ledger;
  readonly authority: Authority;
  readonly programs: { readonly etcd: string; readonly 'kube-apiserver': string };
  readonly ports: { readonly etcd: number; readonly etcdPeer: number; readonly apiserver: number };
  /** Whether etcd waits for the disk. Off: several times faster, as a power cut is not what is tested. */
  readonly etcdFsync: boolean;
}

/** etcd and kube-apiserver, the administrator's kubeconfig and a client. */
export interface ControlPlane {
  readonly etcd: Part;
  /** Where etcd answers clients. */
  readonly etcdUrl: string;
  readonly apiserver: Part;
  readonly api: KubeApi;
  /** Path of the administrator's kubeconfig. */
  readonly kubeconfig: string;
}

/** The audience of tokens for the API server, and their issuer. */
const issuer = 'https://kubernetes.default.svc';

/** Makes the parts; nothing is started. */
export async function controlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { ledger, authority, ports } = options;
  const { dataDir } = ledger.content;
  const server = `https://127.0.0.1:${ports.apiserver}`;
  const token = await administratorToken(join(dataDir, 'tokens.csv'));
  const adminKubeconfig = join(dataDir, 'kubeconfig');
  await writeFile(adminKubeconfig, kubeconfig({ name: ledger.content.instance, server, caFile: authority.caFile, token }), { mode: 0o600 });
  return {
    etcd: etcdPart(options),
    etcdUrl: etcdUrl(options),
    apiserver: await apiserverPart(options, server),
    api: new KubeApi(server, readFileSync(authority.caFile, 'utf8'), token),
    kubeconfig: adminKubeconfig,
  };
}

const etcdUrl = ({ ports }: ControlPlaneOptions) => `http://127.0.0.1:${ports.etcd}`;

function etcdPart(options: ControlPlaneOptions): Part {
  const { ledger, programs, ports, etcdFsync } = options;
  const { dataDir } = ledger.content;
  const client = etcdUrl(options);
  const peer = `http://127.0.0.1:${ports.etcdPeer}`;
  return new Part({
    name: 'etcd',
    ledger,
    logFile: join(dataDir, 'logs', 'etcd.log'),
    prepare: () => mkdir(join(dataDir, 'etcd'), { recursive: true, mode: 0o700 }).then(() => undefined),
    command: () => ({
      file: programs.etcd,
      args: [
        `--data-dir=${join(dataDir, 'etcd')}`,
        `--listen-client-urls=${client}`,
        `--advertise-client-urls=${client}`,
        `--listen-peer-urls=${peer}`,
        `--initial-advertise-peer-urls=${peer}`,
        `--initial-cluster=default=${peer}`,
        '--quota-backend-bytes=8589934592',
        ...(etcdFsync ? [] : ['--unsafe-no-fsync']),
      ],
    }),
    probe: () => answers(`${client}/health`),
  });
}

async function apiserverPart({ ledger, authority, programs, ports }: ControlPlaneOptions, server: string): Promise<Part> {
  const { dataDir } = ledger.content;
  const names = [
    '127.0.0.1',
    'localhost',
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.local',
  ];
  const { cert, key } = await authority.issue('apiserver', 'kube-apiserver', names);
  const signingKey = await authority.serviceAccountKey();
  const probeApi = new KubeApi(
    server,
    readFileSync(authority.caFile, 'utf8'),
    readFileSync(join(dataDir, 'tokens.csv'), 'utf8').split(',')[0] ?? '',
  );
  return new Part({
    name: 'kube-apiserver',
    ledger,
    logFile: join(dataDir, 'logs', 'kube-apiserver.log'),
    command: () => ({
      file: programs['kube-apiserver'],
      args: [
        `--etcd-servers=http://127.0.0.1:${ports.etcd}`,
        '--bind-address=127.0.0.1',
        '--advertise-address=127.0.0.1',
        '--endpoint-reconciler-type=none',
        `--secure-port=${ports.apiserver}`,
        `--tls-cert-file=${cert}`,
        `--tls-private-key-file=${key}`,
        `--cert-dir=${join(dataDir, 'pki')}`,
        `--token-auth-file=${join(dataDir, 'tokens.csv')}`,
        '--anonymous-auth=false',
        `--service-account-issuer=${issuer}`,
        `--service-account-key-file=${signingKey}`,
        `--service-account-signing-key-file=${signingKey}`,
        `--api-audiences=${issuer}`,
        '--service-cluster-ip-range=10.96.0.0/16',
        '--authorization-mode=RBAC',
        '--shutdown-delay-duration=0s',
        '--shutdown-send-retry-after=false',
        '--profiling=false',
      ],
    }),
    probe: async () => {
      const { status, body } = await probeApi.call('GET', '/readyz');
      if (status !== 200) throw new BerthError('NotReady', `/readyz: ${status} ${String(body.message)}`);
    },
  });
}

/** Resolves when a GET of the URL is answered with 200. */
export async function answers(url: string): Promise<void> {
  const { statusCode, body } = await request(url, { headersTimeout: 2_000 });
  await body.dump();
  if (statusCode !== 200) throw new BerthError('NotReady', `${url}: ${statusCode}`);
}

async function administratorToken(path: string): Promise<string> {
  if (!existsSync(path)) await writeFile(path, `${randomBytes(24).toString('hex')},admin,admin,"system:masters"\n`, { mode: 0o600 });
  return readFileSync(path, 'utf8').split(',')[0] ?? '';
}

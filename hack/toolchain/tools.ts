/** Every program that the local provider needs and where it comes from: one row each. */

/** Go modules (folders beside this file, each a go.mod with `tool` lines) that are compiled here. */
export const goModules = {
  kubernetes: {
    module: 'k8s.io/kubernetes',
    ldflags: (version: string) => {
      const [major, minor] = version.replace(/^v/, '').split('.');
      const stamp = 'k8s.io/component-base/version';
      return `-X ${stamp}.gitVersion=${version} -X ${stamp}.gitMajor=${major} -X ${stamp}.gitMinor=${minor}`;
    },
    tags: [],
    expect: 'about 5 minutes on 2 cores',
    diskBytes: 4 * 2 ** 30,
  },
  containerd: {
    module: 'github.com/containerd/containerd/v2',
    ldflags: (version: string) => `-X github.com/containerd/containerd/v2/version.Version=${version}`,
    tags: ['no_btrfs', 'no_devmapper', 'no_zfs', 'urfave_cli_no_docs'],
    expect: 'about 2 minutes on 2 cores',
    diskBytes: 2 * 2 ** 30,
  },
  coredns: {
    module: 'github.com/coredns/coredns',
    ldflags: () => '',
    tags: [],
    expect: 'about 3 minutes on 2 cores',
    diskBytes: 2 * 2 ** 30,
  },
  /** Debian's does not stream lists, which kube-apiserver needs to answer many watchers from memory. */
  etcd: {
    module: 'go.etcd.io/etcd/server/v3',
    ldflags: () => '',
    tags: [],
    expect: 'about 3 minutes on 2 cores',
    diskBytes: 2 * 2 ** 30,
  },
} as const satisfies Record<string, GoModule>;

export interface GoModule {
  /** The module whose required version names the tool's version. */
  readonly module: string;
  readonly ldflags: (version: string) => string;
  readonly tags: readonly string[];
  /** How long a first build takes, for the person who waits. */
  readonly expect: string;
  /** What module downloads, the compiler's cache and the result need on disk. */
  readonly diskBytes: number;
}

export type GoModuleName = keyof typeof goModules;

export type Source =
  | { readonly from: 'go'; readonly module: GoModuleName; readonly package: string }
  /** The system's own when it is new enough, else compiled. */
  | { readonly from: 'path-or-go'; readonly module: GoModuleName; readonly package: string; readonly minimum: readonly [number, number] }
  | { readonly from: 'debian'; readonly package: string };

export const tools = {
  'kube-apiserver': { from: 'go', module: 'kubernetes', package: 'k8s.io/kubernetes/cmd/kube-apiserver' },
  kubectl: { from: 'path-or-go', module: 'kubernetes', package: 'k8s.io/kubernetes/cmd/kubectl', minimum: [1, 32] },
  containerd: { from: 'go', module: 'containerd', package: 'github.com/containerd/containerd/v2/cmd/containerd' },
  'containerd-shim-runc-v2': {
    from: 'go',
    module: 'containerd',
    package: 'github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2',
  },
  ctr: { from: 'go', module: 'containerd', package: 'github.com/containerd/containerd/v2/cmd/ctr' },
  coredns: { from: 'go', module: 'coredns', package: 'github.com/coredns/coredns' },
  etcd: { from: 'go', module: 'etcd', package: 'go.etcd.io/etcd/server/v3' },
  runc: { from: 'debian', package: 'runc' },
  crun: { from: 'debian', package: 'crun' },
  'docker-registry': { from: 'debian', package: 'docker-registry' },
  busybox: { from: 'debian', package: 'busybox-static' },
  openssl: { from: 'debian', package: 'openssl' },
  nsenter: { from: 'debian', package: 'util-linux' },
  unshare: { from: 'debian', package: 'util-linux' },
  ip: { from: 'debian', package: 'iproute2' },
  nft: { from: 'debian', package: 'nftables' },
  /** It brings libfaketime, which is what is used. */
  faketime: { from: 'debian', package: 'faketime' },
} as const satisfies Record<string, Source>;

export type ToolName = keyof typeof tools;
export const toolNames = Object.keys(tools) as ToolName[];

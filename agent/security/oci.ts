/** The part of the OCI runtime specification (1.0.2) that a sandbox's container uses. */
export interface RuntimeSpec {
  readonly ociVersion: '1.0.2';
  readonly process: SpecProcess;
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly hostname: string;
  readonly mounts: readonly SpecMount[];
  readonly linux: SpecLinux;
}

export interface SpecProcess {
  readonly terminal: false;
  readonly user: ContainerUser;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: Readonly<Record<'bounding' | 'effective' | 'permitted', readonly string[]>>;
  readonly noNewPrivileges: true;
  readonly oomScoreAdj: number;
  readonly rlimits?: readonly { readonly type: string; readonly soft: number; readonly hard: number }[];
}

export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

export interface SpecMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface SpecLinux {
  readonly cgroupsPath: string;
  readonly namespaces: readonly { readonly type: string }[];
  readonly resources: SpecResources;
  readonly seccomp: SeccompProfile;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
}

export interface SpecResources {
  readonly devices: readonly { readonly allow: boolean; readonly access: string }[];
  readonly memory: { readonly limit: number; readonly swap?: number };
  readonly cpu: { readonly shares: number; readonly quota: number; readonly period: number };
  readonly pids: { readonly limit: number };
}

export interface SeccompProfile {
  readonly defaultAction: string;
  readonly architectures?: readonly string[];
  readonly syscalls?: readonly object[];
}

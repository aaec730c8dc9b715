/** Files or values of a TLS connection, as node:tls takes them. */
export interface TlsSettings {
  readonly ca?: string | Buffer | undefined;
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  readonly servername?: string | undefined;
  readonly rejectUnauthorized?: boolean | undefined;
}

export interface Credentials {
  /** Authorization and impersonation. */
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsSettings;
}

/** Where the API server is and who we are. */
export interface KubeConnection {
  /** `https://host:port`, possibly with a path. */
  readonly server: string;
  /** The namespace of the context, or of the pod; default `default`. */
  readonly namespace: string;
  /** What is valid now: files are read again as they change. */
  credentials(): Promise<Credentials>;
  /** The API server refused the credentials: read them anew next time. */
  invalidate(): void;
}

import { connect, createServer, type Server, type Socket } from 'node:net';

/** A piece of network between one caller and one server, that can be cut and mended. */
export class Cuttable implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  private constructor(port: number) {
    this.#server = createServer((caller) => {
      if (this.#isCut) {
        caller.destroy();
        return;
      }
      const server = connect(port, '127.0.0.1');
      for (const socket of [caller, server]) {
        this.#sockets.add(socket);
        socket.on('error', () => socket.destroy());
        socket.on('close', () => {
          this.#sockets.delete(socket);
          caller.destroy();
          server.destroy();
        });
      }
      caller.pipe(server).pipe(caller);
    });
  }

  /** Leads to `port`. */
  static async to(port: number): Promise<Cuttable> {
    const cuttable = new Cuttable(port);
    await new Promise<void>((resolve, reject) => {
      cuttable.#server.once('error', reject).listen(0, '127.0.0.1', resolve);
    });
    return cuttable;
  }

  /** What the caller dials. */
  get address(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('it does not listen');
    return `127.0.0.1:${address.port}`;
  }

  /** Breaks every connection, and lets none come until `mend`. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#isCut = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

import { once } from 'node:events'
import type { AddressInfo, Server, Socket } from 'node:net'

/** A server that listens. */
export interface Listening {
  readonly port: number
  /** Stops listening and breaks every connection. */
  close(): Promise<void>
}

/**
 * Starts listening on the loopback interface alone.
 *
 * @throws {Error} that names the port, when it can't be had
 */
export async function listen(server: Server, port: number, what: string): Promise<Listening> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    // A client that goes away in mid-request is no fault of the server's.
    socket.on('error', () => socket.destroy())
  })
  server.listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const reason =
      code === 'EADDRINUSE' ? 'the port is in use; take another one, or 0 for any' : (error as Error).message
    throw Object.assign(new Error(`${what} can't listen on 127.0.0.1:${port}: ${reason} (${code})`), {
      cause: error,
      code,
    })
  }
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

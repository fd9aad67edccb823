import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import dynalite from 'dynalite'

export interface DynamoDBServer {
  readonly port: number
  close(): Promise<void>
}

/** dynalite in memory, on the loopback interface alone; tables are there as soon as they are made. */
export async function startDynamoDBServer(port: number): Promise<DynamoDBServer> {
  const server = dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 })
  // Node's default of 5 s closes connections under clients that beat every few seconds.
  server.keepAliveTimeout = 60_000
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

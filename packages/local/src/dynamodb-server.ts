import dynalite from 'dynalite'
import { type Listening, listen } from './listen.ts'

/** dynalite in memory; tables are there as soon as they are made. */
export function startDynamoDBServer(port: number): Promise<Listening> {
  const server = dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 })
  // Node's default of 5 s closes connections under clients that beat every few seconds.
  server.keepAliveTimeout = 60_000
  return listen(server, port, 'DynamoDB')
}

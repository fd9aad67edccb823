/** What this process uses of the machine. */
import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** What lives on the heap and in buffers. */
export function liveBytes(): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

const sockets = new Set<Socket>()
subscribe('net.client.socket', (message) => {
  const { socket } = message as { readonly socket: Socket }
  sockets.add(socket)
  socket.once('close', () => sockets.delete(socket))
})

/** How many TCP connections there are to a server. */
export function connectionsTo(endpoint: string): number {
  const port = Number(new URL(endpoint).port)
  return [...sockets].filter(({ remotePort }) => remotePort === port).length
}

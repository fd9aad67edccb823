/**
 * The thread that kinesis-local runs in. It listens on every interface by itself, so `listen` is replaced here before it
 * is loaded: any port, of the loopback interface. What it says which port it wants is only told apart.
 */
import { createRequire } from 'node:module'
import { type AddressInfo, Server } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import { PLAIN_PORT } from './kinesis-local.ts'

const { listen } = Server.prototype

Server.prototype.listen = function listenOnLoopback(this: Server, ...args: unknown[]): Server {
  const [port] = args
  const listening = args.findLast((arg) => typeof arg === 'function') as (() => void) | undefined
  if (port === PLAIN_PORT) {
    this.once('listening', () => parentPort?.postMessage((this.address() as AddressInfo).port))
  }
  return listen.call(this, { port: 0, host: '127.0.0.1' }, listening)
}

createRequire(import.meta.url)(workerData as string)

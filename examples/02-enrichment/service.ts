/** The service that the example asks: it takes its time, fails now and then, and sometimes doesn't answer at all. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'

const LATENCY_MS = 50

export interface Service extends AsyncDisposable {
  readonly url: string
  readonly calls: number
  /** How many calls there were at once. */
  readonly most: number
  /** How long all answered calls took together. */
  readonly busyMs: number
}

export async function startService(): Promise<Service> {
  let calls = 0
  let running = 0
  let most = 0
  let busyMs = 0
  const server = createServer(async (request, response) => {
    calls++
    most = Math.max(most, ++running)
    response.once('close', () => running--)
    const number = calls
    const { price } = (await json(request)) as { readonly price: number | null }
    await setTimeout(LATENCY_MS)
    if (number % 1_000 === 0) return
    busyMs += LATENCY_MS
    response.statusCode = price === null ? 422 : number % 100 === 0 ? 503 : 200
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ segment: 'frequent' }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get calls() {
      return calls
    },
    get most() {
      return most
    },
    get busyMs() {
      return busyMs
    },
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { findLocalStack } from './localstack.ts'

const engines: Server[] = []

afterEach(async () => {
  vi.unstubAllEnvs()
  for (const engine of engines.splice(0)) {
    engine.closeAllConnections()
    engine.close()
    await once(engine, 'close')
  }
})

/** Something at `DOCKER_HOST` that answers a ping with this status, or not at all. */
async function engine(status: number | undefined): Promise<void> {
  const server = createServer((request, response) => {
    if (status === undefined) return
    response.writeHead(request.url === '/_ping' ? status : 404).end()
  })
  engines.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  vi.stubEnv('LOCALSTACK_ENDPOINT', '')
  vi.stubEnv('DOCKER_HOST', `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`)
}

test('LocalStack can be started where a Docker engine answers its ping', async () => {
  await engine(200)
  expect(await findLocalStack()).toHaveProperty('start')
})

test.each([
  ['refuses', 500],
  ['does not answer', undefined],
])('an engine that %s is none', async (_, status) => {
  await engine(status)
  expect(await findLocalStack()).toEqual({ missing: expect.stringMatching(/^no Docker engine answers/) })
})

test('a place where nobody listens is no engine', async () => {
  vi.stubEnv('LOCALSTACK_ENDPOINT', '')
  vi.stubEnv('DOCKER_HOST', 'unix:///nowhere/docker.sock')
  expect(await findLocalStack()).toHaveProperty('missing')
})

test('a LocalStack that runs already is taken as it is', async () => {
  vi.stubEnv('LOCALSTACK_ENDPOINT', 'http://127.0.0.1:4566')
  const found = await findLocalStack()
  expect('start' in found && (await found.start()).endpoint).toBe('http://127.0.0.1:4566')
})

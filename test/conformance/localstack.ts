import { existsSync } from 'node:fs'
import { request } from 'node:http'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Emulator } from './backends.ts'

const IMAGE = 'localstack/localstack:4.14.0'
/** An engine on this machine answers its ping within a few milliseconds. */
const PING_MS = 500

export type FoundLocalStack = { readonly start: () => Promise<Emulator> } | { readonly missing: string }

/**
 * How to start LocalStack: the one that `LOCALSTACK_ENDPOINT` names, or a container where a Docker engine answers; else
 * a sentence that says why not.
 */
export async function findLocalStack(): Promise<FoundLocalStack> {
  const endpoint = process.env.LOCALSTACK_ENDPOINT
  if (endpoint) return { start: () => Promise.resolve({ endpoint, stop: () => Promise.resolve() }) }
  const engines = enginePlaces()
  const answers = await Promise.all(engines.map(answersPing))
  if (answers.some(Boolean)) return { start: startContainer }
  return {
    missing: 'no Docker engine answers here; start one, or set LOCALSTACK_ENDPOINT to the URL of a running LocalStack',
  }
}

async function startContainer(): Promise<Emulator> {
  // Loaded only where it is used: it takes almost half a second.
  const { LocalstackContainer } = await import('@testcontainers/localstack')
  const container = await new LocalstackContainer(IMAGE)
    .withEnvironment({ SERVICES: 'kinesis', KINESIS_LATENCY: '1', KINESIS_SHARD_LIMIT: '1000' })
    .start()
  return {
    endpoint: container.getConnectionUri(),
    stop: async () => {
      await container.stop()
    },
  }
}

type EnginePlace = { readonly socketPath: string } | { readonly host: string; readonly port: string }

/** Where testcontainers looks for an engine: `DOCKER_HOST`, then the sockets of Docker, rootless Docker and Docker Desktop. */
function enginePlaces(): EnginePlace[] {
  const named = process.env.DOCKER_HOST
  if (named) {
    const { hostname, port, pathname } = new URL(named)
    return [hostname === '' ? { socketPath: pathname } : { host: hostname, port }]
  }
  const runtime = process.env.XDG_RUNTIME_DIR ?? join('/run/user', String(process.getuid?.() ?? 0))
  return [
    '/var/run/docker.sock',
    join(runtime, 'docker.sock'),
    join(homedir(), '.docker/run/docker.sock'),
    join(homedir(), '.docker/desktop/docker.sock'),
  ]
    .filter((path) => existsSync(path))
    .map((socketPath) => ({ socketPath }))
}

function answersPing(place: EnginePlace): Promise<boolean> {
  return new Promise((resolve) => {
    const ping = request({ ...place, path: '/_ping', agent: false, timeout: PING_MS }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    ping.on('timeout', () => ping.destroy(new Error('timed out')))
    ping.on('error', () => resolve(false))
    ping.end()
  })
}

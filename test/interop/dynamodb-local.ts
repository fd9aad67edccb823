import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb'
import { until } from './event-log.ts'
import { dynamodbCommand } from './java.ts'

export interface DynamoDBLocal extends AsyncDisposable {
  readonly endpoint: string
  readonly client: DynamoDBClient
}

/** Amazon's own DynamoDB for development: the only one at hand that serves what the KCL 3 asks of it. */
export async function startDynamoDBLocal(credentials: object): Promise<DynamoDBLocal> {
  const port = await freePort()
  const [java = '', ...args] = dynamodbCommand(port)
  const child = spawn(java, args, { stdio: 'ignore' })
  const exited = once(child, 'exit')
  const endpoint = `http://127.0.0.1:${port}`
  const client = new DynamoDBClient({ ...credentials, endpoint })
  const stop = async (): Promise<void> => {
    client.destroy()
    child.kill('SIGKILL')
    await exited
  }
  try {
    await until('DynamoDB answers', async () => {
      if (child.exitCode !== null) throw new Error(`DynamoDB ended with ${child.exitCode} before it answered`)
      return await client.send(new ListTablesCommand({})).then(
        () => true,
        () => false,
      )
    })
  } catch (error) {
    await stop()
    throw error
  }
  return { endpoint, client, [Symbol.asyncDispose]: stop }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error(`expected a port, got ${address}`)
  return address.port
}

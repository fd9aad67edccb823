import { Writable } from 'node:stream'
import { startLocal } from '@shardwise/local'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { Producer } from '../src/index.ts'

const CREDENTIALS = {
  accessKeyId: 'access-key-tell-nobody',
  secretAccessKey: 'secret/tell+nobody',
  sessionToken: 'token//tell+nobody==',
}

test('no credential is ever logged, told in an event or put into an error, whatever fails', async () => {
  const written: string[] = []
  const destination = new Writable({
    write(chunk, _encoding, callback) {
      written.push(String(chunk))
      callback()
    },
  })
  const logger = pino({ level: 'trace' }, destination)
  const tell = (value: unknown): void => logger.info({ err: value, value }, 'told')
  await using local = await startLocal({ streams: { flights: 1 }, dynamodb: false })
  const clientConfig = { ...local.kinesis, credentials: CREDENTIALS }
  const common = { stream: 'flights', logger, onEvent: tell, onError: tell, recordTtl: 600 }

  await using denied = new Producer({ ...common, stream: 'no-such-stream', clientConfig })
  await denied.put({ partitionKey: 'k', data: 'x' }).catch(tell)
  await using unreachable = new Producer({
    ...common,
    clientConfig: { ...clientConfig, endpoint: 'http://127.0.0.1:1' },
  })
  await unreachable.put({ partitionKey: 'k', data: 'x' }).catch(tell)
  await using failing = new Producer({ ...common, clientConfig })
  await local.faults.add({ fault: 'internalError' })
  await failing.put({ partitionKey: 'k', data: 'x' }).catch(tell)

  const text = written.join('\n')
  expect(text).toContain('PutRecords failed')
  for (const secret of Object.values(CREDENTIALS)) expect(text).not.toContain(secret)
})

#!/usr/bin/env node
import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { HELP, parseCommand, type StartCommand, UsageError } from './cli-arguments.ts'
import { type Local, startLocal } from './local.ts'

const FAILED = 1
const WRONG_ARGUMENTS = 2

/** The command `shardwise-local`. */
async function main(args: readonly string[]): Promise<void> {
  const command = parseCommand(args)
  if (command.action === 'help') return print(HELP)
  if (command.action === 'version') return print(`${version()}\n`)
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  })
  const local = await startLocal(command.options)
  try {
    if (command.certificateFile !== undefined) writeFileSync(command.certificateFile, local.certificate)
    print(greeting(local, command))
    await Promise.race([stopped, local.closed])
  } finally {
    await local.stop()
  }
}

/** What to know and what to export, as lines for a shell. */
function greeting(local: Local, { options, certificateFile }: StartCommand): string {
  const streams = Object.entries(options.streams ?? {}).map(([name, shards]) => `${name} (${shards})`)
  const withDynamoDB = options.dynamodb !== false
  const variables = {
    AWS_ENDPOINT_URL_KINESIS: certificateFile === undefined ? local.kinesisEndpoint : local.kinesisTlsEndpoint,
    ...(withDynamoDB && { AWS_ENDPOINT_URL_DYNAMODB: local.dynamodbEndpoint }),
    AWS_REGION: local.kinesis.region,
    AWS_ACCESS_KEY_ID: local.kinesis.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: local.kinesis.credentials.secretAccessKey,
    ...(certificateFile !== undefined && { NODE_EXTRA_CA_CERTS: resolve(certificateFile) }),
  }
  const lines = [
    `# Kinesis:  ${local.kinesisEndpoint}${options.tls ? ` and ${local.kinesisTlsEndpoint}` : ''}`,
    ...(withDynamoDB ? [`# DynamoDB: ${local.dynamodbEndpoint}`] : []),
    ...(streams.length > 0 ? [`# Streams (shards): ${streams.join(', ')}`] : []),
    '# Paste this into the shell whose programs shall use them; Ctrl-C here stops them.',
    ...Object.entries(variables).map(([name, value]) => `export ${name}=${quoted(value)}`),
  ]
  return `${lines.join('\n')}\n`
}

function quoted(value: string): string {
  return /^[\w./:@-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`
}

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return version
}

function print(text: string): void {
  process.stdout.write(text)
}

main(process.argv.slice(2)).catch((error: unknown) => {
  const isUsage = error instanceof UsageError
  process.stderr.write(
    `shardwise-local: ${(error as Error).message}\n${isUsage ? 'See shardwise-local --help.\n' : ''}`,
  )
  process.exitCode = isUsage ? WRONG_ARGUMENTS : FAILED
})

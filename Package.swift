// swift-tools-version: 6.0
import Foundation
import PackageDescription

// `bindings/swift/generate.sh` makes what is under bindings/swift/generated; `bindings/swift/xcframework.sh` adds the
// framework for Apple platforms.
let generated = "bindings/swift/generated"
let framework = "\(generated)/CMusigFFI.xcframework"
let packaged = FileManager.default.fileExists(atPath: "\(Context.packageDirectory)/\(framework)")

let native: Target =
    packaged
    ? .binaryTarget(name: "CMusigFFI", path: framework)
    : .systemLibrary(name: "CMusigFFI", path: "\(generated)/CMusigFFI")

let package = Package(
    name: "libmusig",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "Musig", targets: ["Musig"])],
    targets: [
        native,
        .target(
            name: "MusigFFI",
            dependencies: ["CMusigFFI"],
            path: "\(generated)/MusigFFI",
            swiftSettings: [.swiftLanguageMode(.v5)],
            linkerSettings: packaged ? [] : [.linkedLibrary("musig_uniffi")]),
        .target(
            name: "Musig",
            dependencies: ["MusigFFI"],
            path: "bindings/swift/Sources/Musig",
            swiftSettings: [.swiftLanguageMode(.v6)]),
        .executableTarget(
            name: "Failover",
            dependencies: ["Musig"],
            path: "examples/swift/Failover",
            swiftSettings: [.swiftLanguageMode(.v6)]),
        .executableTarget(
            name: "Interop",
            dependencies: ["Musig"],
            path: "examples/swift/Interop",
            swiftSettings: [.swiftLanguageMode(.v6)]),
        .testTarget(
            name: "MusigTests",
            dependencies: ["Musig"],
            path: "bindings/swift/Tests/MusigTests",
            swiftSettings: [.swiftLanguageMode(.v6)]),
    ]
)
